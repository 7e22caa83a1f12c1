"""Paths that do not exist as written: another Unicode form is the same name, the rest is explained."""

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import CaptionFileSource, FolderSource, ImageFolderSource, LongCaptionSource
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


def coco(images: list[Any], root: Path, **more: Any) -> tuple[list[str], dict[str, str]]:
    """Keys, and the reason of each failure, of annotations beside the pictures in `root`."""
    write(root / "captions.json", json.dumps({"images": images, **more}))
    path = str(root / "captions.json")
    spec = CaptionFileSource(source="coco", annotations=path, images=str(root), max_failure_rate=1.0)
    build_index(spec, root / "index", root)
    failures = {row["key"]: row["reason"] for row in read_table(root / "index/failures.parquet").to_pylist()}
    return read_table(root / "index/images.parquet")["key"].to_pylist(), failures


def test_karpathy_in_the_other_form_too_long_and_without_its_fields(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "é.jpg") for form in ("NFC", "NFD"))  # type: ignore[arg-type]
    write(tmp_path / "val2014" / decomposed, photo(1))
    said = {"sentences": [{"raw": "a kite"}], "filepath": "val2014"}
    images = [{"filename": name, **said} for name in (composed, "x" * 300, "zero\0.jpg")]
    keys, failures = coco([*images, {"file": "a.jpg", "captions": []}, [1]], tmp_path)
    assert keys == [composed]
    assert "File name too long" in failures[f"captions.json, image 1: {'x' * 300}"]
    assert "holds a zero byte" in failures["captions.json, image 2: zero\0.jpg"]
    assert failures["captions.json, image 3"].endswith("KeyError 'filename'; its fields are file, captions")
    assert failures["captions.json, image 4"].endswith("; found a list, not an object")


def test_official_annotations_too_long_and_without_their_fields(tmp_path: Path) -> None:
    write(tmp_path / "a.jpg", photo(0))
    images = [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "x" * 300}, {"id": 3, "name": "b"}]
    said = [{"image_id": n, "caption": "a kite"} for n in (1, 2)] + [{"image": 1, "text": "x"}]
    keys, failures = coco(images, tmp_path, annotations=said)
    assert keys == ["a.jpg"]
    assert failures["captions.json, annotation 2"].endswith("; its fields are image, text")
    assert failures["captions.json, image 2"].endswith("; its fields are id, name")
    assert any("File name too long" in reason for reason in failures.values())


def test_dci_and_docci_list_the_fields_that_are_there(tmp_path: Path) -> None:
    write(tmp_path / "photos/a.jpg", photo(0))
    good = {"image": "a.jpg", "short_caption": "x", "extra_caption": "y"}
    write(tmp_path / "annotations/a.json", json.dumps(good))
    write(tmp_path / "annotations/b.json", json.dumps({"image": "a.jpg", "caption": "x"}))
    write(tmp_path / "images/a.jpg", photo(0))
    rows = [{"image_file": "a.jpg", "description": "x"}, {"file": "a.jpg", "description": "x"}]
    write(tmp_path / "docci_descriptions.jsonlines", "".join(json.dumps(row) + "\n" for row in rows))
    for source, fields in (("dci", "image, caption"), ("docci", "file, description")):
        spec = LongCaptionSource(source=source, path=str(tmp_path), max_failure_rate=1.0)  # type: ignore[arg-type]
        build_index(spec, tmp_path / "index", tmp_path)
        (failure,) = read_table(tmp_path / "index/failures.parquet").to_pylist()
        assert failure["reason"].endswith(f"; its fields are {fields}")


TAKEN = {
    "pets\\cat.jpg": "paths: backslashes are no separators here",
    "pets/red%20cat.jpg": "paths: written as in an address",
    "pets\\red%20cat.jpg": "paths: backslashes are no separators here, written as in an address",
    "file://{raw}/pets/cat.jpg": "paths: without file://",
    "file://{raw}/pets/red%20cat.jpg": "paths: without file://",
    "file:///none/such.jpg": None,
    "pets\\none.jpg": None,
    "pets/red%2520cat.jpg": None,
}


@pytest.mark.parametrize("name", TAKEN)
def test_paths_of_other_systems_and_addresses_are_taken_where_one_file_is_meant(name: str, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for number, stored in enumerate(("cat.jpg", "red cat.jpg"), start=1):
        write(raw / "pets" / stored, photo(number))
    failures = build(raw, name.replace("{raw}", str(raw)))
    rewritten = json.loads((tmp_path / "index/about.json").read_text())["tally"].get("rewritten")
    assert (len(failures), rewritten) == ((1, None) if TAKEN[name] is None else (0, {TAKEN[name]: 1}))
    if TAKEN[name]:
        found = "red cat.jpg" if "red" in name else "cat.jpg"
        assert ImageTable(tmp_path / "index").row(1)["path"] == str(raw / "pets" / found)


def test_a_path_as_it_is_written_comes_first_and_two_readings_are_none(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for number, stored in enumerate(("a%20b.jpg", "a b.jpg", "c/d%20e.jpg", "c\\d e.jpg"), start=1):
        write(raw / stored, photo(number))
    assert build(raw, "a%20b.jpg") == {}
    assert ImageTable(tmp_path / "index").row(1)["path"] == str(raw / "a%20b.jpg")
    (reason,) = build(raw, "c\\d%20e.jpg").values()
    assert reason.startswith("no such file")
