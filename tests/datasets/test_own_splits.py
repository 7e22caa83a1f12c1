"""A picture in several splits of its own data set is in the first of train, validation and test, and is listed."""

from pathlib import Path

import pytest

from pipeline.config import ImageFolderSource, SplitsParams, TableSource
from pipeline.datasets import spool
from pipeline.datasets.index import build_index
from pipeline.datasets.splits import build_splits
from pipeline.datasets.tables import read_table
from tests.datasets.layouts import photo, write
from tests.datasets.test_bad_input import SHARED, build, failures_of

ROWS = [
    ("a.jpg", "test", "cat"),
    ("a.jpg", "train", "cat"),
    ("b.jpg", "train", "dog"),
    ("b.jpg", "test", "fox"),
    ("b.jpg", "validation", "dog"),
    ("c.jpg", "test", "cat"),
    ("c.jpg", "val", "cat"),
    ("d.jpg", "", "cat"),
    ("d.jpg", "test", "cat"),
    ("e.jpg", "test", "cat"),
    ("e.jpg", "test", "cat"),
    ("f.jpg", "", "cat"),
]
SETTLED = [
    ("a.jpg", "train", "cat"),
    ("b.jpg", "train", "dog"),
    ("b.jpg", "train", "fox"),
    ("c.jpg", "validation", "cat"),
    ("d.jpg", "test", "cat"),
    ("e.jpg", "test", "cat"),
    ("f.jpg", None, "cat"),
]


@pytest.mark.parametrize("row_group", [spool.ROW_GROUP, 2])
def test_rows_of_a_table(row_group: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "ROW_GROUP", row_group)
    for number, name in enumerate("abcdef"):
        write(tmp_path / f"{name}.jpg", photo(number))
    lines = [f"{name},x,{split},{concept}" for name, split, concept in ROWS]
    write(tmp_path / "data.csv", "\n".join(["image,caption,split,concept", *lines]))
    columns = {"split": "split", "concept": "concept"}
    spec = TableSource(source="table", path=f"{tmp_path}/data.csv", columns=columns, **SHARED)  # type: ignore[arg-type]
    about = build_index(spec, tmp_path / "index", tmp_path)
    keys = {row["image_id"]: row["key"] for row in read_table(tmp_path / "index/images.parquet").to_pylist()}
    labels = read_table(tmp_path / "index/labels.parquet").to_pylist()
    assert [(keys[row["image_id"]], row["split"], row["concept"]) for row in labels] == SETTLED
    assert failures_of(tmp_path / "index") == {
        "a.jpg": "the same picture is in train and test: it counts as train alone",
        "b.jpg": "the same picture is in train and validation and test: it counts as train alone",
        "c.jpg": "the same picture is in validation and test: it counts as validation alone",
    }
    assert about["counts"] == {"images": 6, "texts": 1, "pairs": 6, "concepts": 3, "failures": 3}
    assert not list((tmp_path / "index").glob("*.keys"))


def test_folders_whose_test_has_pictures_of_train(tmp_path: Path) -> None:
    for number in range(9):
        split = ("test", "train", "val")[number % 3]
        write(tmp_path / f"raw/{split}/{'cat' if number < 5 else 'dog'}/{number}.jpg", photo(number))
    write(tmp_path / "raw/test/cat/1-again.jpg", photo(1))
    spec = ImageFolderSource(source="image-folder", path=str(tmp_path / "raw"), **SHARED)
    _, failures = build(spec, tmp_path / "index")
    assert failures == {"test/cat/1-again.jpg": "the same picture is in train and test: it counts as train alone"}
    params = SplitsParams(repeats=2, validation=0.2, test=0.2, largest_family=0.9, development=0.0)
    build_splits({"raw": tmp_path / "index"}, params, 0, tmp_path / "splits")
    images = {row["key"]: row["image_id"] for row in read_table(tmp_path / "index/images.parquet").to_pylist()}
    samples = {row["image_id"]: row for row in read_table(tmp_path / "splits/samples.parquet").to_pylist()}
    assert [samples[images["test/cat/1-again.jpg"]][f"split_{repeat}"] for repeat in range(2)] == ["train", "train"]
