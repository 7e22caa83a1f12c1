"""Composed scenes: exact masks, captions that say what is there, and choices that stay put when the pool changes."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.config import ScenesSpec
from pipeline.datasets.builder import IndexBuilder
from pipeline.datasets.decode import ImageTable
from pipeline.datasets.scenes import Scenes, build_scenes, read_scenes
from pipeline.datasets.scenes.caption import long_caption
from pipeline.datasets.scenes.compose import MARGIN, Composition, Placed, compose
from pipeline.datasets.scenes.draws import uniform
from pipeline.datasets.scenes.names import names
from pipeline.datasets.scenes.pool import Piece, read_pieces, solid
from pipeline.datasets.tables import OBJECTS, read_table, text_id
from pipeline.errors import DataError
from tests.datasets.cut_outs import NAMES, colour, cut_outs

PARAMS = ScenesSpec(pieces=("cut",), count=12, size=96, objects=(2, 5))


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cut_outs(tmp_path_factory.mktemp("pool") / "cut")


@pytest.fixture(scope="module")
def built(index: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out: Path = tmp_path_factory.mktemp("scenes")
    build_scenes({"cut": index}, PARAMS, out)
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_equal_pools_give_equal_bytes(index: Path, built: Path, tmp_path: Path) -> None:
    build_scenes({"cut": index}, PARAMS, tmp_path)
    assert contents(tmp_path) == contents(built)


def test_tables_fit_each_other(built: Path) -> None:
    about = json.loads((built / "about.json").read_text())
    scenes = read_scenes(built)
    assert about["composed"] is True
    assert about["available"] is True
    assert about["counts"]["images"] == about["counts"]["texts"] == len(scenes) == PARAMS.count
    assert about["counts"]["objects"] == len(scenes.objects)
    assert read_table(built / "objects.parquet").schema == OBJECTS
    assert {row["role"] for row in read_table(built / "pairs.parquet").to_pylist()} == {"long"}
    assert scenes.instances.shape == (PARAMS.count, PARAMS.size, PARAMS.size)
    per_scene = [[thing for thing in scenes.objects if thing.scene == number] for number in range(len(scenes))]
    assert {len(things) for things in per_scene} <= set(range(2, 6))
    assert len({len(things) for things in per_scene}) > 1
    for number, things in enumerate(per_scene):
        assert len({thing.concept for thing in things}) == len(things)
        assert [thing.instance for thing in things] == list(range(1, len(things) + 1))
        counts = np.bincount(scenes.instances[number].ravel(), minlength=len(things) + 1)[1:].tolist()
        assert [thing.pixels for thing in things] == counts == sorted(counts, reverse=True)


def test_masks_are_where_the_objects_are(built: Path) -> None:
    """Pieces are flat in a colour of their own, so the picture says which pixels belong to which."""
    scenes, table = read_scenes(built), ImageTable(built)
    assert table.ids == scenes.ids.tolist()
    for thing in scenes.objects:
        picture = np.asarray(table.load(thing.scene)).astype(int)
        mask = scenes.instances[thing.scene] == thing.instance
        near = np.abs(picture - np.array(colour(NAMES.index(thing.concept)))).max(axis=2) <= 2
        assert near[mask].mean() > 0.75  # the rest are the soft edges
        assert (near & ~mask).sum() <= 0.12 * mask.sum()


def test_objects_stay_inside_the_margins_and_in_view(index: Path) -> None:
    pieces = read_pieces({"cut": index})
    low = round(96 * MARGIN)
    for number in range(20):
        scene = compose(number, pieces, 5, 96)
        rows, columns = scene.instances.nonzero()
        assert min(rows.min(), columns.min()) >= low
        assert max(rows.max(), columns.max()) < 96 - low
        for placed in scene.objects:
            cut = placed.piece.cut_out()
            assert cut is not None
            box = np.argwhere(scene.instances == scene.objects.index(placed) + 1)
            height, width = np.ptp(box, axis=0) + 1
            whole = solid(cut).mean() * width * height  # at most: occlusion may narrow the box
            assert placed.pixels >= 0.6 * whole


def test_a_new_cut_out_changes_only_scenes_that_hold_it(built: Path, tmp_path: Path) -> None:
    more = cut_outs(tmp_path / "cut", (*NAMES, "xylophone"))
    build_scenes({"cut": more}, PARAMS, tmp_path / "out")
    before, after = read_scenes(built), read_scenes(tmp_path / "out")
    changed = set(np.flatnonzero(before.ids != after.ids).tolist())
    assert changed == {thing.scene for thing in after.objects if thing.concept == "xylophone"}
    assert 0 < len(changed) < len(before) / 2


def test_pictures_without_a_mask_count_as_rectangles(tmp_path: Path) -> None:
    index = cut_outs(tmp_path / "cut", mask=None)
    scenes = read_scenes_of(index, tmp_path / "out", PARAMS.model_copy(update={"objects": (1, 1)}))
    for number in range(len(scenes)):
        rows, columns = scenes.instances[number].nonzero()
        assert len(rows) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)


def read_scenes_of(index: Path, out: Path, params: ScenesSpec) -> Scenes:
    build_scenes({"cut": index}, params, out)
    return read_scenes(out)


def test_every_object_is_named_in_the_caption(built: Path) -> None:
    scenes = read_scenes(built)
    strings = {row["text_id"]: row["text"] for row in read_table(built / "texts.parquet").to_pylist()}
    for number in range(len(scenes)):
        text = strings[scenes.captions[number]]
        assert text_id(text) == scenes.captions[number]
        things = [thing for thing in scenes.objects if thing.scene == number]
        places = [text.index(f"{'an' if t.concept[0] in 'aeiou' else 'a'} {t.concept}") for t in things]
        assert places == sorted(places)  # the largest first
        assert text.count(". ") == len(things)
        assert 18 * len(things) <= len(text.split()) <= 40 * len(things)


def placed(name: str, centre: tuple[float, float], share: float = 0.02) -> Placed:
    first, again = names(name, f"A {name}.")
    return Placed(Piece("cut", name, name, None, first, again, {}, Path()), 10, share, centre)


def test_captions_say_where_things_are() -> None:
    image, blank = Image.new("RGB", (8, 8)), np.zeros((8, 8), dtype=np.uint8)
    apple, cat = placed("apple", (0.2, 0.2), 0.2), placed("cat", (0.8, 0.25), 0.001)
    text = long_caption(0, Composition(image, blank, (apple, cat), "cream"))
    first, second, last, *_ = text.split(". ")
    assert "n apple" in first
    assert "n the upper left" in first
    assert "to the left of the cat" in first.lower()
    assert "to the right of the apple" in second.lower()
    assert "n the upper right" in second
    assert last == "There are two things in all on a cream background."
    below = placed("cat", (0.3, 0.9))
    first = long_caption(0, Composition(image, blank, (apple, below), "cream")).split(". ")[0].lower()
    assert "above the cat" in first
    diagonal = placed("cat", (0.6, 0.6))
    first = long_caption(0, Composition(image, blank, (apple, diagonal), "cream")).split(". ")[0].lower()
    assert "above and to the left of the cat" in first
    alone = long_caption(0, Composition(image, blank, (apple,), "cream"))
    assert "with nothing around" in alone.lower()
    assert alone.endswith("There is a single thing on a cream background.")


@pytest.mark.parametrize(
    ("classname", "caption", "expected"),
    [
        ("frog", "A frog.", ("a frog", "the frog")),
        ("orange", "An orange.", ("an orange", "the orange")),
        ("unicorn", None, ("a unicorn", "the unicorn")),
        ("flowers", "Some flowers.", ("some flowers", "the flowers")),
        ("grapes", "grapes", ("some grapes", "the grapes")),
        ("bunch of grapes", "bunch of grapes", ("a bunch of grapes", "the bunch of grapes")),
        ("Eiffel tower in Paris", "The Eiffel tower in Paris", ("the Eiffel tower in Paris",) * 2),
        ("Saturn", "Saturn.", ('something called "Saturn"', '"Saturn"')),
        ("Eat your bread", "Eat your bread!", ('something called "Eat your bread"', '"Eat your bread"')),
        ("shell is old", "A shell is old", ('something called "shell is old"', '"shell is old"')),
        ('big "red" hat', "A big red hat", ("something called \"big 'red' hat\"", "\"big 'red' hat\"")),
    ],
)
def test_names(classname: str, caption: str | None, expected: tuple[str, str]) -> None:
    assert names(classname, caption) == expected


def test_draws_are_even_and_depend_on_the_whole_key() -> None:
    drawn = np.array([uniform(number, "x") for number in range(4000)])
    assert np.abs(np.histogram(drawn, 10, (0, 1))[0] - 400).max() < 80
    assert uniform(1, 12) != uniform(11, 2)
    assert uniform(1, "a") == uniform(1, "a")


def test_an_empty_pool_gives_empty_tables(tmp_path: Path) -> None:
    with IndexBuilder(tmp_path / "cut") as builder:
        builder.finish({"source": "made", "available": False, "reason": "not installed"})
    about = build_scenes({"cut": tmp_path / "cut"}, PARAMS, tmp_path / "out")
    assert about["available"] is False
    assert "no cut-outs in cut" in about["reason"]
    assert about["counts"]["images"] == about["counts"]["objects"] == about["counts"]["texts"] == 0
    scenes = read_scenes(tmp_path / "out")
    assert len(scenes) == 0
    assert scenes.instances.shape == (0, 96, 96)


def test_too_few_concepts_and_too_little_room_are_refused(index: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"up to 30 different concepts.*hold 22.*Lower scenes\.objects"):
        build_scenes({"cut": index}, PARAMS.model_copy(update={"objects": (2, 30)}), tmp_path)
    assert not (tmp_path / "images.tar").exists()
    with pytest.raises(DataError, match=r"no room for cut.*raise scenes\.size"):
        compose(0, read_pieces({"cut": index}), 22, 8)


def test_damaged_masks_are_refused(built: Path, tmp_path: Path) -> None:
    for name, content in contents(built).items():
        (tmp_path / name).write_bytes(content)
    np.savez(tmp_path / "masks.npz", instances=np.zeros((3, 96, 96), np.uint8))
    with pytest.raises(DataError, match="expected uint8 masks of 12 scenes"):
        read_scenes(tmp_path)
    (tmp_path / "masks.npz").write_bytes(b"not a zip")
    with pytest.raises(DataError, match="dvc repro scenes"):
        read_scenes(tmp_path)
    (tmp_path / "masks.npz").unlink()
    with pytest.raises(DataError, match="No masks at"):
        read_scenes(tmp_path)
