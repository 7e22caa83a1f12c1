"""What becomes of every file on the disk: used, failed or left out, by reason; stray folders, odd names."""

import json
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.config import FolderSource, ImageFolderSource, IndexSettings, LongCaptionSource, SegmentationSource
from pipeline.datasets.index import build_index
from pipeline.datasets.tables import read_table
from pipeline.datasets.tally import kind_of, table_of
from pipeline.errors import SourceError
from stages.index import index as index_stage
from tests.datasets.label_maps import write_ade20k, write_mask_folder
from tests.datasets.layouts import indexed, photo, write


def build(folder: Path, out: Path, **options: Any) -> dict[str, Any]:
    spec = ImageFolderSource(source="image-folder", path=str(folder), **{"max_failure_rate": 1.0, **options})
    return build_index(spec, out, out)


def keys(out: Path) -> list[str]:
    found: list[str] = read_table(out / "images.parquet")["key"].to_pylist()
    return found


def files_below(folder: Path) -> int:
    return sum(len(files) for *_, files in os.walk(folder))


def test_every_file_of_a_folder_is_counted_once(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for number, name in enumerate(("a.jpg", "b.JPG", "c.jfif", "d.jpe", "e.ppm", "f.JP2")):
        form = {"ppm": "PPM", "JP2": "JPEG2000"}.get(name.partition(".")[2], "JPEG")
        write(raw / "cat" / name, photo(number, form))
    write(raw / "cat/again.jpg", photo(0))
    write(raw / "cat/phone.heic", b"\0\0\0\x18ftypheic" + b"\0" * 40)
    write(raw / "cat/cut.png", b"")
    write(raw / "alone.jpg", photo(9))
    for name in (
        "notes.md",
        "more.MD",
        "archive.zip",
        "README",
        "cat/.DS_Store",
        "cat/._a.jpg",
        "__MACOSX/cat/._a.jpg",
    ):
        write(raw / name, b"x")
    about = build(raw, tmp_path / "index")
    tally = about["tally"]
    assert tally["used"] == 7
    assert about["counts"]["images"] == 6
    assert tally["failed"] == {
        "no caption and no label": 1,
        "empty file": 1,
        "not an image of a known format (it looks like HEIC, which is not read: convert it to JPEG)": 1,
    }
    assert tally["left_out"] == {
        "hidden": 3,
        "no picture: .md": 2,
        "no picture: .zip": 1,
        "no picture: without an ending": 1,
    }
    assert tally["read"] == tally["used"] + sum(tally["failed"].values())
    assert tally["read"] + sum(tally["left_out"].values()) == files_below(raw)


def test_the_stage_prints_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("stages.index.index_folder", lambda *_: tmp_path / "index")
    for name, content in (("train/cat/a.jpg", photo(0)), ("val/cat/b.jpg", photo(1)), ("extra/c.jpg", photo(2))):
        write(tmp_path / "raw" / name, content)
    write(tmp_path / "raw/list.txt", b"x")
    spec = ImageFolderSource(source="image-folder", path=str(tmp_path / "raw"))
    index_stage(IndexSettings.model_construct(name="mine", dataset=spec))
    shown = capsys.readouterr().out
    assert "4 files found\n         2 used\n         1 failed\n" in shown
    assert "1 outside of the folders that are splits\n         1 left out\n               1 no picture: .txt\n" in shown
    assert "mine: the folders extra are beside those of the splits" in shown


@pytest.mark.parametrize(
    "stray", ["__MACOSX/train/cat/._a.jpg", "annotations/a.xml", "lost+found/a.jpg", ".git/a.jpg", "docs/deep/a.pdf"]
)
def test_a_stray_folder_does_not_turn_splits_into_classes(stray: str, tmp_path: Path) -> None:
    write(tmp_path / "raw/train/cat/a.jpg", photo(0))
    write(tmp_path / "raw/val/cat/b.jpg", photo(1))
    write(tmp_path / "raw" / stray, photo(2))
    about = build(tmp_path / "raw", tmp_path / "index")
    assert [(row.classname, row.split) for row in indexed(tmp_path / "index")] == [
        ("cat", "train"),
        ("cat", "validation"),
    ]
    assert about["classnames"] == ["cat"]
    assert about["tally"]["failed"] == {}


def test_a_class_called_train_is_a_class(tmp_path: Path) -> None:
    for number, name in enumerate(("bus", "car", "train")):
        write(tmp_path / "raw" / name / "a.jpg", photo(number))
    build(tmp_path / "raw", tmp_path / "index")
    assert [(row.classname, row.split) for row in indexed(tmp_path / "index")] == [
        ("bus", None),
        ("car", None),
        ("train", None),
    ]


@pytest.mark.parametrize(("name", "found"), [("a.zip", "1 x no picture: .zip"), ("a.docx", "1 x no picture: .docx")])
def test_a_folder_without_pictures_says_what_is_there(name: str, found: str, tmp_path: Path) -> None:
    write(tmp_path / "raw" / name, b"PK\x03\x04")
    with pytest.raises(SourceError, match=f"none of 0 samples could be indexed. Left out: {found}"):
        build(tmp_path / "raw", tmp_path / "index")


def test_a_folder_of_heic_says_so(tmp_path: Path) -> None:
    write(tmp_path / "raw/a.HEIC", b"\0\0\0\x18ftypheic" + b"\0" * 40)
    with pytest.raises(SourceError, match="none of 1 samples could be indexed.*HEIC, which is not read"):
        build(tmp_path / "raw", tmp_path / "index")


def test_a_missing_text_beside_a_picture_is_one_failure(tmp_path: Path) -> None:
    for number, name in enumerate(("a.jpg", "b.jpg", "c.jpg")):
        write(tmp_path / "raw" / name, photo(number))
    write(tmp_path / "raw/a.txt", "one\ntwo\n")
    write(tmp_path / "raw/c.txt", " \n")
    about = build(tmp_path / "raw", tmp_path / "index", captions="beside", labels="none")
    failures = read_table(tmp_path / "index/failures.parquet").to_pylist()
    assert [row["key"] for row in failures] == ["b.jpg", "c.jpg"]
    assert "no caption and no label; No file at " in failures[0]["reason"]
    assert failures[1]["reason"] == "no caption and no label; c.txt beside it is empty"
    assert about["tally"]["left_out"] == {"texts beside pictures": 2}


NAMES = {b"caf\xe9.jpg": r"caf\xe9.jpg", b"\xff\xfe.jpg": r"\xff\xfe.jpg", b"\xed\xa0\x80.jpg": r"\xed\xa0\x80.jpg"}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("folder", [b"cat", b"r\xe9d"])
def test_names_that_are_no_utf8_are_failures_that_name_the_file(name: bytes, folder: bytes, tmp_path: Path) -> None:
    write(tmp_path / "raw/cat/good.jpg", photo(0))
    path = Path(os.fsdecode(bytes(tmp_path / "raw") + b"/" + folder + b"/" + name))
    write(path, photo(1))
    about = build(tmp_path / "raw", tmp_path / "index")
    assert keys(tmp_path / "index") == ["cat/good.jpg"]
    assert about["classnames"] == ["cat"]
    (failure,) = read_table(tmp_path / "index/failures.parquet").to_pylist()
    assert failure["key"].endswith(NAMES[name])
    assert "its name is not valid UTF-8" in failure["reason"]


@pytest.mark.parametrize("name", ["\ud800", "a\udce9"])
def test_a_class_whose_name_is_no_text_costs_its_pictures_alone(name: str, tmp_path: Path) -> None:
    for number, folder in enumerate(("n1", "n2")):
        write(tmp_path / "raw" / folder / "a.jpg", photo(number))
    write(tmp_path / "names.json", json.dumps({"n1": "cat", "n2": name}))
    about = build(tmp_path / "raw", tmp_path / "index", classnames=str(tmp_path / "names.json"))
    assert keys(tmp_path / "index") == ["n1/a.jpg"]
    assert about["tally"]["failed"] == {"its name is not valid UTF-8": 1}
    assert json.loads((tmp_path / "index/about.json").read_text())["classnames"][0] == "cat"


@pytest.mark.parametrize("name", ["x" * 300 + ".jpg", "é" * 140 + ".png"])
def test_names_longer_than_a_file_system_allows(name: str, tmp_path: Path) -> None:
    write(tmp_path / "raw/a.jpg", photo(0))
    write(tmp_path / "raw/captions.csv", f"file,caption\na.jpg,x\n{name},y\n")
    spec = FolderSource(source="folder", path=str(tmp_path / "raw"), max_failure_rate=1.0)
    about = build_index(spec, tmp_path / "index", tmp_path, tmp_path)
    assert about["tally"]["failed"] == {"cannot be read: File name too long": 1}


def test_reasons_are_told_apart_without_what_varies() -> None:
    reasons = ["no such file; looked for /a/b.jpg", "no such file; looked for /a/c.jpg", "too narrow (1 x 900 pixels)"]
    assert Counter(map(kind_of, reasons)) == {"no such file": 2, "too narrow": 1}
    assert kind_of("class 'x'; classnames.txt") == "class ..."
    assert (
        next(table_of({"read": 3, "used": 1, "failed": {"x": 2}, "left_out": {"y": 4}, "unit": "rows"})).strip()
        == "7 rows found"
    )


@pytest.mark.parametrize("stray", ["._0.jpg", ".DS_Store", "Thumbs.db", "notes.md"])
def test_hidden_and_other_files_beside_urban1k(stray: str, tmp_path: Path) -> None:
    for number in range(2):
        write(tmp_path / f"raw/image/{number}.JPG", photo(number))
        write(tmp_path / f"raw/caption/{number}.txt", f"a long caption {number}")
    write(tmp_path / "raw/image" / stray, b"\0\5\x16\7" * 9)
    write(tmp_path / "raw/caption/._0.txt", b"\0\5\x16\7\xff")
    spec = LongCaptionSource(source="urban1k", path=str(tmp_path / "raw"), max_failure_rate=0.0)
    about = build_index(spec, tmp_path / "index", tmp_path)
    assert keys(tmp_path / "index") == ["0", "1"]
    assert about["tally"]["failed"] == {}
    assert sum(about["tally"]["left_out"].values()) == 2


def test_hidden_files_capitals_and_strangers_beside_label_maps(tmp_path: Path) -> None:
    folder = write_ade20k(tmp_path)
    pictures = folder / "images/validation"
    before = build_index(
        SegmentationSource(source="ade20k", path=str(folder), windows=None), tmp_path / "before", tmp_path
    )
    first = min(pictures.iterdir())
    first.rename(first.with_suffix(".JPG"))
    write(pictures / f"._{first.name}", b"\0\5\x16\7")
    write(pictures / "list.csv", b"x")
    about = build_index(
        SegmentationSource(source="ade20k", path=str(folder), windows=None), tmp_path / "index", tmp_path
    )
    assert about["pictures"] == before["pictures"] == before["tally"]["used"]
    assert about["tally"]["left_out"] == {"hidden": 1, "no picture: .csv": 1}
    assert about["tally"]["read"] + 2 == files_below(pictures)


def test_mask_folder_with_a_hidden_file_and_a_tiff(tmp_path: Path) -> None:
    folder = write_mask_folder(tmp_path)
    first = min((folder / "images").iterdir())
    with Image.open(first) as image:
        image.save(first.with_suffix(".tif"))
    first.unlink()
    shutil.copy(first.with_suffix(".tif"), folder / "images" / f"._{first.stem}.png")
    spec = SegmentationSource(source="mask-folder", path=str(folder), windows=None)
    about = build_index(spec, tmp_path / "index", tmp_path)
    assert about["tally"]["used"] == about["tally"]["read"] == files_below(folder / "images") - 1
