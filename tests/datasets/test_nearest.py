"""Paths that do not exist as written: another Unicode form is the same name, the rest is explained."""

import unicodedata
from pathlib import Path

import pytest

from pipeline.config import FolderSource, ImageFolderSource
from pipeline.datasets.decode import ImageTable
from pipeline.datasets.index import build_index
from pipeline.datasets.nearest import Missing
from pipeline.datasets.tables import read_table
from tests.datasets.layouts import photo, write


def build(raw: Path, name: str) -> dict[str, str]:
    """Reason of each failure after an index of a good row, and one with this name."""
    write(raw / "good.jpg", photo(0))
    write(raw / "captions.csv", f"file,caption\ngood.jpg,x\n{name},y\n")
    spec = FolderSource(source="folder", path=str(raw), max_failure_rate=1.0)
    build_index(spec, raw.parent / "index", raw, raw.parent / "known")
    failures = read_table(raw.parent / "index/failures.parquet").to_pylist()
    return {row["key"]: row["reason"] for row in failures}


@pytest.mark.parametrize("name", ["café.jpg", "Ångström/é.jpg", "한글.jpg", "が/ば.jpg"])
@pytest.mark.parametrize(("disk", "table"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_unicode_forms_are_equal(name: str, disk: str, table: str, tmp_path: Path) -> None:
    stored, written = unicodedata.normalize(disk, name), unicodedata.normalize(table, name)  # type: ignore[arg-type]
    assert stored != written
    write(tmp_path / "raw" / stored, photo(1))
    assert build(tmp_path / "raw", written) == {}
    assert ImageTable(tmp_path / "index").row(1)["path"] == str(tmp_path / "raw" / stored)
    assert ImageTable(tmp_path / "index").load(1).size == (24, 16)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("pets\\cat.jpg", "; there is {raw}/pets/cat.jpg (backslashes are no separators here)"),
        ("pets/red%20cat.jpg", "; there is {raw}/pets/red cat.jpg (written as in an address)"),
        ("file://{raw}/pets/cat.jpg", "; there is {raw}/pets/cat.jpg (without file://)"),
        ("pets/CAT.JPG", "; there is {raw}/pets/cat.jpg (letter case)"),
        ("Pets/cat.jpg", "; there is {raw}/pets (letter case)"),
        ("pets/catt.jpg", "; the nearest is {raw}/pets/cat.jpg"),
        ("images/cat.jpg", "; there is no folder {raw}/images"),
        ("pets/zebra.png", ""),
    ],
)
def test_a_missing_file_is_explained(name: str, hint: str, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for stored in ("cat.jpg", "red cat.jpg"):
        write(raw / "pets" / stored, photo(1))
    name, hint = name.replace("{raw}", str(raw)), hint.replace("{raw}", str(raw))
    (reason,) = build(raw, name).values()
    tried = reason.removeprefix("no such file; looked for ").partition(";")[0]
    assert tried == str(raw / name)
    assert reason.removeprefix(f"no such file; looked for {tried}") == hint


def test_a_path_through_a_file_and_one_too_long(tmp_path: Path) -> None:
    write(tmp_path / "a.jpg", b"x")
    for name in ("a.jpg/b.jpg", "é" * 300):
        assert Missing().reason(tmp_path / name).startswith(f"no such file; looked for {tmp_path / name}")


def test_the_first_hundred_are_explained(tmp_path: Path) -> None:
    write(tmp_path / "a.jpg", b"x")
    missing = Missing()
    reasons = [missing.reason(tmp_path / "A.jpg") for _ in range(102)]
    assert ["letter case" in reason for reason in reasons] == [True] * 100 + [False] * 2


def test_texts_beside_pictures_in_the_other_form(tmp_path: Path) -> None:
    name = unicodedata.normalize("NFC", "é")
    write(tmp_path / "raw" / f"{unicodedata.normalize('NFD', name)}.txt", "a caption")
    write(tmp_path / "raw" / f"{name}.jpg", photo(0))
    spec = ImageFolderSource(source="image-folder", path=str(tmp_path / "raw"), captions="beside", labels="none")
    assert build_index(spec, tmp_path / "index", tmp_path)["counts"]["texts"] == 1
