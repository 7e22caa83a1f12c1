"""Splits are joint over data sets, disjoint by family, and the same on every run."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.config import SplitsParams
from pipeline.datasets.builder import IndexBuilder
from pipeline.datasets.concepts import concept_key
from pipeline.datasets.splits import build_splits
from pipeline.datasets.tables import read_table, write_table
from pipeline.errors import DataError
from tests.datasets.conftest import picture

NOUNS = [f"thing{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(200)]
PARAMS = SplitsParams(repeats=3, validation=0.1, test=0.2, largest_family=0.05)


def test_families_are_held_out_in_every_data_set(make_index: Callable[..., Path], tmp_path: Path) -> None:
    one = make_index("one", [f"red {name}" for name in NOUNS] + [f"cat number{i} face" for i in range(3)])
    two = make_index("two", [f"A {name}." for name in NOUNS[:120]], first=1000)
    summary = build_splits({"one": one, "two": two}, PARAMS, 0, tmp_path / "out")
    rows = read_table(tmp_path / "out" / "samples.parquet").to_pylist()
    assert len(rows) == 323
    for repeat in range(3):
        column = f"split_{repeat}"
        where: dict[str, set[str]] = {}
        for row in rows:
            where.setdefault(row["family"], set()).add(row[column])
        assert all(len(splits) == 1 for splits in where.values())
        for dataset, total in (("one", 203), ("two", 120)):
            counts = Counter(row[column] for row in rows if row["dataset"] == dataset)
            assert counts["test"] == pytest.approx(0.2 * total, abs=0.05 * total)
            assert counts["validation"] == pytest.approx(0.1 * total, abs=0.05 * total)
    family = {(row["dataset"], row["classname"]): row["family"] for row in rows}
    assert family["one", "red thingaa"] == family["two", "A thingaa."]
    assert [row["split_0"] for row in rows] != [row["split_1"] for row in rows]
    assert summary["unavailable"] == {}
    assert read_table(tmp_path / "out" / "pairs.parquet").num_rows == 323


def test_families_for_development_are_never_tested(make_index: Callable[..., Path], tmp_path: Path) -> None:
    """The same ones in every repeat and for every seed; the test splits keep their size."""
    folders = {
        "one": make_index("one", [f"red {name}" for name in NOUNS]),
        "two": make_index("two", [f"A {name}." for name in NOUNS[:120]], first=1000),
    }
    params = PARAMS.model_copy(update={"development": 0.15, "repeats": 12})
    summary = build_splits(folders, params, 0, tmp_path / "out")
    build_splits(folders, params, 5, tmp_path / "other")
    rows, other = (read_table(tmp_path / name / "samples.parquet").to_pylist() for name in ("out", "other"))
    block = {row["family"] for row in rows if row["development"]}
    assert block == {row["family"] for row in other if row["development"]}
    assert summary["development"]["families"] == len(block)
    for dataset, total in (("one", 200), ("two", 120)):
        own = [row for row in rows if row["dataset"] == dataset]
        assert sum(row["development"] for row in own) == pytest.approx(0.15 * total, abs=0.02 * total)
        assert summary["development"]["images"][dataset] == sum(row["development"] for row in own)
        for repeat in range(12):
            counts = Counter(row[f"split_{repeat}"] for row in own)
            assert counts["test"] == pytest.approx(0.2 * total, abs=0.1 * total)  # families of both fill one first
            assert not any(row[f"split_{repeat}"] == "test" for row in own if row["development"])
    tested = {row["family"] for row in rows for repeat in range(12) if row[f"split_{repeat}"] == "test"}
    assert tested.isdisjoint(block)
    assert len(tested) > 0.9 * (200 - len(block)), "of the others, nearly each is tested in some repeat"
    assert {row[f"split_{repeat}"] for row in rows if row["development"] for repeat in range(12)} == {
        "train", "validation",
    }  # fmt: skip


def test_without_development_splits_are_as_ever(make_index: Callable[..., Path], tmp_path: Path) -> None:
    """Of sixty pictures, as of any number: none is set aside unless params.yaml says so."""
    folder = make_index("one", NOUNS[:60])
    summary = build_splits({"one": folder}, PARAMS, 0, tmp_path / "out")
    rows = read_table(tmp_path / "out" / "samples.parquet").to_pylist()
    assert summary["development"] == {"families": 0, "images": {}}
    assert not any(row["development"] for row in rows)
    assert Counter(row["split_0"] for row in rows) == {"train": 42, "validation": 6, "test": 12}
    order = sorted({row["family"] for row in rows}, key=lambda name: hashlib.sha256(f"0:{name}".encode()).digest())
    assert {row["family"] for row in rows if row["split_0"] == "test"} == set(order[:12])


def test_what_a_data_set_tests_is_not_for_development(make_index: Callable[..., Path], tmp_path: Path) -> None:
    folders = {
        "own": make_index("own", [f"A {name}." for name in NOUNS[:100]], first=500, split="test"),
        "other": make_index("other", NOUNS),
    }
    params = PARAMS.model_copy(update={"development": 0.15})
    build_splits(folders, params, 0, tmp_path / "out")
    rows = read_table(tmp_path / "out" / "samples.parquet").to_pylist()
    names = {row["classname"] for row in rows if row["development"]}
    assert len(names) == 30
    assert names <= set(NOUNS[100:])


def test_development_and_test_leave_something() -> None:
    with pytest.raises(ValueError, match="families for development are never tested"):
        SplitsParams(test=0.5, validation=0.1, development=0.5)


def test_same_bytes_twice(make_index: Callable[..., Path], tmp_path: Path) -> None:
    folders = {"one": make_index("one", NOUNS)}
    for out in ("a", "b"):
        build_splits(folders, PARAMS, 7, tmp_path / out)
    for name in ("samples.parquet", "pairs.parquet", "summary.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_large_family_stays_in_train(make_index: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_index("one", NOUNS + [f"{name} cat" for name in NOUNS[:50]])
    summary = build_splits({"one": folder}, PARAMS, 0, tmp_path / "out")
    rows = read_table(tmp_path / "out" / "samples.parquet").to_pylist()
    cats = [row for row in rows if row["classname"].endswith(" cat")]
    assert {row["split_0"] for row in cats} == {"train"}
    assert summary["train_only"] == [cats[0]["family"]]


def test_the_split_of_a_data_set_is_kept(make_index: Callable[..., Path], tmp_path: Path) -> None:
    own = make_index("own", ["A zebra.", "A lark."], first=500, split="test")
    other = make_index("other", [*NOUNS, "zebra"])
    build_splits({"own": own, "other": other}, PARAMS, 0, tmp_path / "out")
    rows = read_table(tmp_path / "out" / "samples.parquet").to_pylist()
    assert {row["split_1"] for row in rows if row["dataset"] == "own" or row["classname"] == "zebra"} == {"test"}


def test_a_data_set_for_transfer_holds_nothing_out(make_index: Callable[..., Path], tmp_path: Path) -> None:
    other = make_index("other", [*NOUNS, "zebra"])
    build_splits({"other": other}, PARAMS, 0, tmp_path / "alone")
    own = make_index("own", ["A zebra.", "A lark.", *NOUNS[:3]], first=500)
    about = json.loads((own / "about.json").read_text()) | {"transfer": True}
    (own / "about.json").write_text(json.dumps(about))
    summary = build_splits({"other": other, "own": own}, PARAMS, 0, tmp_path / "out")
    alone, both = (read_table(tmp_path / name / "samples.parquet").to_pylist() for name in ("alone", "out"))
    assert both[: len(alone)] == alone
    added = both[len(alone) :]
    assert {row[f"split_{repeat}"] for row in added for repeat in range(3)} == {"test"}
    assert [row["family"] for row in added] == [f"own: {row['concept']}" for row in added]
    assert summary["transfer"] == ["own"]
    assert set(summary["shares"]) == {"other"}
    assert read_table(tmp_path / "out" / "pairs.parquet").num_rows == 206


def test_a_picture_that_is_trained_on_is_not_tested_for_transfer(
    make_index: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folders = {"other": make_index("other", NOUNS), "own": make_index("own", [*NOUNS[:40], "zebra"], first=20)}
    about = json.loads((folders["own"] / "about.json").read_text()) | {"transfer": True}
    (folders["own"] / "about.json").write_text(json.dumps(about))
    summary = build_splits(folders, PARAMS, 0, tmp_path / "index/out")
    other = {row["image_id"]: row for row in rows_of(tmp_path / "index/out", "other")}
    own = rows_of(tmp_path / "index/out", "own")
    shared = [row for row in own if row["image_id"] in other]
    assert len(shared) == 41
    for column in ("split_0", "split_1", "split_2"):
        for row in own:
            trained_on = row in shared and other[row["image_id"]][column] == "train"
            assert row[column] == ("train" if trained_on else "test")
    number = sum(any(other[row["image_id"]][f"split_{repeat}"] == "train" for repeat in range(3)) for row in shared)
    assert summary["trained_on"] == {"own": number}
    assert f"{number} pictures of own are trained on in some repeat, and not tested there" in caplog.text


def test_contradicting_splits_go_to_the_held_out_side(make_index: Callable[..., Path], tmp_path: Path) -> None:
    folders = {
        "a": make_index("a", ["A zebra."], first=500, split="test"),
        "b": make_index("b", ["zebra"], first=600, split="train"),
        "c": make_index("c", NOUNS),
    }
    summary = build_splits(folders, PARAMS, 0, tmp_path / "out")
    rows = read_table(tmp_path / "out" / "samples.parquet").to_pylist()
    assert {row["split_0"] for row in rows if row["concept"] == "zebra"} == {"test"}
    assert summary["moved_rows"] == 1


def test_too_little_to_split(make_index: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing in .*validation"):
        build_splits({"one": make_index("one", ["cat", "cat face"])}, PARAMS, 0, tmp_path / "out")


def test_an_unavailable_data_set_is_named(make_index: Callable[..., Path], tmp_path: Path) -> None:
    empty = tmp_path / "index" / "stamps"
    with IndexBuilder(empty) as builder:
        builder.finish({"source": "stamps", "available": False, "reason": "no apt-get"})
    build_splits({"stamps": empty, "one": make_index("one", NOUNS)}, PARAMS, 0, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["unavailable"] == {"stamps": "no apt-get"}
    with pytest.raises(DataError, match="No data set holds an image"):
        build_splits({"stamps": empty}, PARAMS, 0, tmp_path / "none")


def test_one_picture_of_two_concepts_binds_them(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    with IndexBuilder(folder) as builder:
        for number, name in enumerate(NOUNS):
            image = builder.add_image(picture(number // 2), name)
            builder.label(image, name, name)
        assert builder.counts["images"] == 100
        builder.finish({"source": "made"})
    build_splits({"one": folder}, PARAMS, 0, tmp_path / "out")
    rows = read_table(tmp_path / "out" / "samples.parquet").to_pylist()
    assert len(rows) == len({row["image_id"] for row in rows}) == len({row["family"] for row in rows}) == 100


def make_mixed(folder: Path, pictures: list[tuple[str | None, str | None]], first: int = 0) -> Path:
    """An index of pictures with a class (or none) and a split of their own (or none)."""
    with IndexBuilder(folder) as builder:
        for number, (name, split) in enumerate(pictures, start=first):
            image = builder.add_image(picture(number), f"{name} {number}")
            builder.label(image, concept_key(name) if name else image, name, split=split)
            text = f"A {name}." if name else f"Caption number {number}."
            builder.link(image, builder.add_text(text, "en"), "en")
        builder.finish({"source": "made"})
    return folder


def rows_of(folder: Path, dataset: str) -> list[dict[str, Any]]:
    """The rows of a data set, each with the split of its own."""
    own = {row["image_id"]: row["split"] for row in read_table(folder.parent / dataset / "labels.parquet").to_pylist()}
    rows = [row for row in read_table(folder / "samples.parquet").to_pylist() if row["dataset"] == dataset]
    return [row | {"split": own[row["image_id"]]} for row in rows]


def by_class(*splits: str) -> list[tuple[str | None, str | None]]:
    """Every class has ten pictures to train on, and five in each other split."""
    return [(name, split) for name in NOUNS[:20] for split in splits for _ in range(10 if split == "train" else 5)]


def test_a_classification_set_keeps_its_own_split(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its validation is its own; held-out concepts there are none."""
    folder = make_mixed(tmp_path / "own", by_class("train", "validation", "test"))
    with caplog.at_level("INFO"):
        summary = build_splits({"own": folder}, PARAMS, 0, tmp_path / "out")
    rows = rows_of(tmp_path / "out", "own")
    assert len(rows) == 400
    assert all(row[f"split_{repeat}"] == row["split"] for row in rows for repeat in range(3))
    assert (summary["by_picture"], summary["moved_rows"]) == (["own"], 0)
    assert len([line for line in caplog.messages if "20 of 20 families" in line]) == 1


@pytest.mark.parametrize("own", ["test", "validation"])
def test_what_a_classification_set_lacks_is_drawn_from_its_train_pictures(own: str, tmp_path: Path) -> None:
    drawn, share = ("validation", 0.1) if own == "test" else ("test", 0.2)
    folder = make_mixed(tmp_path / "own", by_class("train", own))
    for out in ("out", "again"):
        build_splits({"own": folder}, PARAMS, 0, tmp_path / out)
    rows = rows_of(tmp_path / "out", "own")
    assert rows == rows_of(tmp_path / "again", "own")
    chosen = []
    for repeat in range(3):
        assert all((row[f"split_{repeat}"] == own) == (row["split"] == own) for row in rows)
        chosen.append({row["image_id"] for row in rows if row[f"split_{repeat}"] == drawn})
        assert len(chosen[repeat]) == round(share * 200)
        assert all(row["split"] == "train" for row in rows if row["image_id"] in chosen[repeat])
    assert len({frozenset(images) for images in chosen}) == 3


def test_what_a_classification_set_trains_on_is_held_out_nowhere(tmp_path: Path) -> None:
    """Captions without a class, classes in common, and a class that another data set tests by a split of its own."""
    folders = {
        "own": make_mixed(tmp_path / "own", by_class("train", "test")),
        "captions": make_mixed(tmp_path / "captions", [(None, None)] * 60, first=1000),
        "common": make_mixed(tmp_path / "common", [(name, None) for name in NOUNS[:40]], first=2000),
        "given": make_mixed(tmp_path / "given", [(NOUNS[0], "test"), (NOUNS[50], "train")], first=3000),
    }
    summary = build_splits(folders, PARAMS, 0, tmp_path / "out")
    assert summary["by_picture"] == ["own"]
    for repeat in range(3):
        column = f"split_{repeat}"
        own = [row for row in rows_of(tmp_path / "out", "own") if row["split"] == "test"]
        assert {row[column] for row in own} == {"test"}
        assert Counter(row[column] for row in rows_of(tmp_path / "out", "captions"))["test"] == 12
        common = {row["classname"]: row[column] for row in rows_of(tmp_path / "out", "common")}
        assert {common[name] for name in NOUNS[1:20]} == {"train"}
        assert {"test", "validation"} <= {common[name] for name in NOUNS[20:40]}
        assert [row[column] for row in rows_of(tmp_path / "out", "given")] == ["test", "train"]
        assert common[NOUNS[0]] == "test", "data sets without a split follow the one that has one"


def test_a_picture_of_two_data_sets_is_held_out_in_both(tmp_path: Path) -> None:
    pictures = by_class("train", "test")
    folders = {
        "own": make_mixed(tmp_path / "own", pictures),
        "same": make_mixed(tmp_path / "same", pictures[:15]),
        "other": make_mixed(tmp_path / "other", [(name, None) for name in NOUNS[100:]], first=1000),
    }
    for row in (folders["same"] / "labels.parquet",):
        table = read_table(row)
        write_table(table.set_column(table.column_names.index("split"), "split", pa.nulls(15, pa.string())), row)
    build_splits(folders, PARAMS, 0, tmp_path / "out")
    own = {row["image_id"]: row["split_0"] for row in rows_of(tmp_path / "out", "own")}
    same = {row["image_id"]: row["split_0"] for row in rows_of(tmp_path / "out", "same")}
    assert same == {image: own[image] for image in same}
    assert "test" in same.values()


def test_half_of_the_families_on_both_sides_are_still_held_out_whole(tmp_path: Path) -> None:
    both = [(name, split) for name in NOUNS[:5] for split in ("train", "test")]
    pictures = [*both, *((name, "train") for name in NOUNS[5:10]), *((name, None) for name in NOUNS[10:80])]
    summary = build_splits({"own": make_mixed(tmp_path / "own", pictures)}, PARAMS, 0, tmp_path / "out")
    assert (summary["by_picture"], summary["moved_rows"]) == ([], 5)
    held = [row for row in rows_of(tmp_path / "out", "own") if row["classname"] in NOUNS[:5]]
    assert {row["split_0"] for row in held} == {"test"}


def test_captions_without_any_class_are_split(tmp_path: Path) -> None:
    folder = make_mixed(tmp_path / "captions", [(None, None)] * 50)
    build_splits({"captions": folder}, PARAMS, 0, tmp_path / "out")
    counts = Counter(row["split_0"] for row in rows_of(tmp_path / "out", "captions"))
    assert counts == {"train": 35, "validation": 5, "test": 10}


def test_data_sets_for_transfer_alone_need_nothing_to_train_on(make_index: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_index("sets", NOUNS[:4])
    about = json.loads((folder / "about.json").read_text())
    (folder / "about.json").write_text(json.dumps(about | {"transfer": True}))
    summary = build_splits({"sets": folder}, PARAMS, 0, tmp_path / "out")
    assert (summary["families"], summary["transfer"]) == (0, ["sets"])
    rows = read_table(tmp_path / "out" / "samples.parquet").to_pylist()
    assert [row["split_1"] for row in rows] == ["test"] * 4
