"""Splits are joint over data sets, disjoint by family, and the same on every run."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.config import SplitsParams
from pipeline.datasets.builder import IndexBuilder
from pipeline.datasets.splits import build_splits
from pipeline.datasets.tables import read_table
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
