"""Dense heads: regions and ridge regression against slow ways, and what they learn from."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.alignment.dense import DenseHead, fit_dense_head
from pipeline.alignment.dense.regions import object_tokens, patch_shares
from pipeline.config import DenseHeadSpec
from pipeline.datasets.tables import read_table
from pipeline.errors import DataError, ModelError
from tests.evaluation.dense_world import TEXT_WIDTH, DenseWorld
from tests.evaluation.scene_world import REPEATS, SIDE, WIDTH

SPEC = DenseHeadSpec(image="eye-dense", text="words", scenes="training", regularisation=0.3)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> DenseWorld:
    world = DenseWorld(tmp_path_factory.mktemp("dense"))
    world.write()
    return world


@pytest.fixture
def world(shared: DenseWorld, monkeypatch: pytest.MonkeyPatch) -> DenseWorld:
    monkeypatch.chdir(shared.root)
    return shared


def test_ridge_is_least_squares_with_further_rows() -> None:
    generator = np.random.default_rng(0)
    regions, texts = generator.normal(size=(30, 6)), generator.normal(size=(30, 4))
    head = DenseHead.fit(regions, texts, 0.5, {})
    centred = regions - regions.mean(axis=0)
    strength = np.sqrt(0.5 * (centred**2).sum() / 6)
    rows = np.concatenate([centred, strength * np.eye(6)])
    expected = np.linalg.lstsq(rows, np.concatenate([texts - texts.mean(axis=0), np.zeros((6, 4))]), rcond=None)[0]
    assert head.weight == pytest.approx(expected, abs=1e-5)
    some = generator.normal(size=(2, 3, 6)).astype(np.float16)
    raw = (some.astype(np.float64) - regions.mean(axis=0)) @ expected
    assert head.embed_patches(some, unit=False) == pytest.approx(raw, abs=1e-4)
    assert head.embed_patches(some) == pytest.approx(raw / np.linalg.norm(raw, axis=-1, keepdims=True), abs=1e-4)
    assert head.embed_patches(some.mean(axis=1), unit=False) == pytest.approx(raw.mean(axis=1), abs=3e-3), "linear"


@pytest.mark.parametrize(("side", "what"), [(0, "mean patch tokens of regions"), (1, "texts of regions")])
@pytest.mark.parametrize(("value", "complaint"), [(0.5, "that differ"), (np.nan, "finite")])
def test_regions_that_teach_nothing_are_refused(side: int, what: str, value: float, complaint: str) -> None:
    sides = [np.random.default_rng(0).normal(size=(30, width)).astype(np.float32) for width in (6, 4)]
    sides[side][:] = value
    with pytest.raises(DataError, match=what) as caught:
        DenseHead.fit(*sides, 0.5, {})
    assert complaint in str(caught.value)


def test_a_region_is_the_mean_of_the_patches_inside_its_mask() -> None:
    generator = np.random.default_rng(1)
    instances = np.zeros((1, 64, 64), dtype=np.uint8)
    instances[0, 4:32, 4:32] = 1  # rows 0 and 1, columns 0 and 1 of the 4 x 4 patches within 4 .. 60
    instances[0, 46:60, 32:60] = 2
    shares = patch_shares(instances == 1, (4, 4), 0.875)
    assert shares.reshape(4, 4).round(4).tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0] * 4, [0] * 4]
    patch = generator.normal(size=(16, 3)).astype(np.float32)
    wanted = np.array([1, 2], dtype=np.uint8)
    tokens, large = object_tokens([patch], instances, [wanted], (4, 4), 0.875)
    assert tokens[0] == pytest.approx(patch[[0, 1, 4, 5]].mean(axis=0), abs=1e-5)
    assert tokens[1] == pytest.approx(patch[[14, 15]].mean(axis=0), abs=1e-5)
    assert large.tolist() == [True, True]
    instances[0] = 0
    instances[0, 10:13, 10:13] = 1
    assert not object_tokens([patch], instances, [wanted[:1]], (4, 4), 0.875)[1].any(), "too small to mean much"


def slow_examples(world: DenseWorld, repeat: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Tokens and texts of the train objects of training scenes, patch by patch."""
    scenes = world.training_scenes()
    samples = {row["image_id"]: row for row in world.samples}
    tokens, texts = [], []
    for thing in scenes.objects:
        if samples[thing.piece_id][f"split_{repeat}"] != "train":
            continue
        mask = scenes.instances[thing.scene] == thing.instance
        total, weight, largest = np.zeros(WIDTH), 0.0, 0.0
        for row in range(SIDE):
            for column in range(SIDE):
                top, left = 4 + 14 * row, 4 + 14 * column
                share = float(mask[top : top + 14, left : left + 14].mean())
                counts = (share if share > 0.5 else 0.0) + 1e-4 * share
                total += counts * world.training_patch["eye"][thing.scene, row * SIDE + column].astype(np.float64)
                weight, largest = weight + counts, max(largest, share)
        if largest > 0.2:
            tokens.append(total / weight)
            texts.append(world.caption_vectors[thing.piece_id])
    return tokens, texts


@pytest.mark.parametrize("repeat", range(REPEATS))
def test_it_learns_from_the_train_objects_of_training_scenes(world: DenseWorld, repeat: int) -> None:
    fit_dense_head("own", SPEC, REPEATS)
    head = DenseHead.from_folder("own", repeat)
    tokens, texts = slow_examples(world, repeat)
    assert len(tokens) > 10
    expected = DenseHead.fit(np.stack(tokens), np.stack(texts), 0.3, {})
    assert head.weight == pytest.approx(expected.weight, abs=1e-3)
    assert head.text_mean == pytest.approx(expected.text_mean, abs=1e-4)
    assert head.weight.shape == (WIDTH, TEXT_WIDTH)
    assert set(head.fingerprints) == {"image", "text"}


def test_training_scenes_are_not_those_that_are_tested(world: DenseWorld) -> None:
    assert not set(world.training_scenes().ids) & set(world.scenes().ids)


@pytest.mark.usefixtures("world")
def test_what_is_missing() -> None:
    with pytest.raises(ModelError, match="dvc repro dense@none"):
        DenseHead.from_folder("none", 0)
    with pytest.raises(DataError, match="tier: full"):
        fit_dense_head("flat", SPEC.model_copy(update={"image": "flat"}), REPEATS)
    path = Path("data/dense/broken")
    path.mkdir(parents=True)
    (path / "config.json").write_text('{"format": 99}')
    with pytest.raises(ModelError, match="has format 99"):
        DenseHead.from_folder("broken", 0)
    with pytest.raises(ValueError, match="3 wide; the dense head takes 8"):
        fit_dense_head("own", SPEC, REPEATS)
        DenseHead.from_folder("own", 0).embed_patches(np.zeros((2, 3)))
    weights = Path("data/dense/own/repeat_0.safetensors")
    content = bytearray(weights.read_bytes())
    content[-200] ^= 4
    weights.write_bytes(content)
    with pytest.raises(ModelError, match=r"repeat_0\.safetensors is damaged.*pipeline\.store repair data/dense/own"):
        DenseHead.from_folder("own", 0)


def test_without_training_scenes_there_is_no_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.config import ScenesSpec
    from pipeline.datasets.builder import IndexBuilder
    from pipeline.datasets.scenes import build_scenes

    monkeypatch.chdir(tmp_path)
    with IndexBuilder(tmp_path / "none") as builder:
        builder.finish({"source": "made"})
    build_scenes(
        {"cut": tmp_path / "none"}, ScenesSpec(pieces=("cut",), use="training"), Path("data/index/scenes/training")
    )
    assert (fit_dense_head("own", SPEC, REPEATS) / "config.json").is_file()
    with pytest.raises(ModelError, match="No dense head"):
        DenseHead.from_folder("own", 0)
    assert len(read_table(Path("data/index/scenes/training/images.parquet"))) == 0
