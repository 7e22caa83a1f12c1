"""The table at the end of `index` adds up to what is on the disk, in the unit that it names, for every source."""

import csv
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pyarrow.parquet as pq
import pytest
from pydantic import TypeAdapter

from pipeline.config import DatasetSpec, EmojiSource, SegmentationSource, StampsSource, TextTasksSource
from pipeline.datasets.emoji_packages import EmojiPackages
from pipeline.datasets.index import build_index
from pipeline.datasets.tables import read_table
from pipeline.datasets.tally import table_of
from tests.datasets.label_maps import write_ade20k, write_context, write_mask_folder, write_voc
from tests.datasets.layouts import LAYOUTS, photo, write, write_tar
from tests.datasets.test_layouts import ENTRIES, moved
from tests.datasets.test_sound_sources import SOURCES


def files(root: Path) -> int:
    return sum(len(names) for *_, names in os.walk(root, followlinks=True))


def rows(root: Path) -> int:
    count = 0
    for path in root.rglob("*"):
        if path.suffix in (".csv", ".tsv"):
            with open(path, newline="", encoding="utf-8") as file:
                count += sum(1 for row in csv.reader(file) if row) - 1
        elif path.suffix in (".jsonl", ".jsonlines"):
            count += sum(1 for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
        elif path.suffix == ".parquet":
            count += pq.read_metadata(path).num_rows
    return count


def members(root: Path) -> int:
    count = 0
    for path in root.rglob("*.tar"):
        with tarfile.open(path) as archive:
            count += sum(1 for entry in archive if not entry.isdir())
    return count


def entries(root: Path) -> int:
    count = 0
    for path in root.rglob("*.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        count += len(content["images"]) + len(content.get("annotations", []))
    for path in root.rglob("*.token"):
        count += sum(1 for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    return count


def names(root: Path) -> int:
    (path,) = root.rglob("test_image_names.txt")
    return len(path.read_text(encoding="utf-8").split())


COUNTED: dict[str, Callable[[Path], int]] = {
    "files": files,
    "rows": rows,
    "members of tars": members,
    "lines, or images and annotations of JSON,": entries,
    "lines of test_image_names.txt": names,
    "files of annotations": lambda root: sum(files(folder) for folder in root.rglob("annotations")),
}


def spoil(root: Path) -> None:
    """An empty picture, and beside the others files that are none."""
    pictures = sorted(path for path in root.rglob("*") if path.suffix.lower() in (".jpg", ".png", ".jpeg"))
    if len(pictures) > 1:
        pictures[0].write_bytes(b"")
    for folder in {path.parent for path in pictures}:
        write(folder / "notes.md", "x")
        write(folder / "._a.jpg", b"\0")
    for path in root.rglob("*.tar"):
        with tarfile.open(path, "a") as archive:
            for name in ("README", "s/9.jpg", ".hidden"):
                archive.addfile(tarfile.TarInfo(name))
            link = tarfile.TarInfo("s/link.jpg")
            link.type, link.linkname = tarfile.SYMTYPE, "s/9.jpg"
            archive.addfile(link)


@pytest.mark.parametrize("spoilt", [False, True])
@pytest.mark.parametrize("name", LAYOUTS)
def test_all_that_is_there_is_counted(name: str, spoilt: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    LAYOUTS[name](tmp_path / name)
    if spoilt:
        spoil(tmp_path / name)
    entry = moved(ENTRIES[name], tmp_path) | {"max_failure_rate": 1.0}
    spec: Any = TypeAdapter(DatasetSpec).validate_json(TypeAdapter(Any).dump_json(entry))
    tally = build_index(spec, tmp_path / "index", tmp_path)["tally"]
    assert tally["read"] == tally["used"] + sum(tally["failed"].values())
    on_disk = COUNTED[tally["unit"]](tmp_path / name)
    assert tally["read"] + sum(tally["left_out"].values()) == on_disk
    assert next(table_of(tally)).strip() == f"{on_disk} {tally['unit']} found"
    if spoilt and tally["unit"] == "members of tars":
        assert sum(tally["failed"].values()) >= 2  # a picture alone, and a link


def listed(folder: Path, split: str) -> int:
    (path,) = (folder / "ImageSets").rglob(f"{split}.txt")
    return len(path.read_text().split())


MAPS: dict[str, tuple[Callable[[Path], Path], Callable[[Path], int]]] = {
    "voc": (write_voc, lambda folder: listed(folder, "val")),
    "pascal-context": (write_context, lambda folder: listed(folder, "val")),
    "ade20k": (write_ade20k, lambda folder: files(folder / "images/validation")),
    "mask-folder": (write_mask_folder, lambda folder: files(folder / "images")),
}


@pytest.mark.parametrize("spoilt", [False, True])
@pytest.mark.parametrize("name", MAPS)
def test_pictures_with_label_maps_are_counted(name: str, spoilt: bool, tmp_path: Path) -> None:
    make, count = MAPS[name]
    folder = make(tmp_path)
    if spoilt:
        for pictures in (folder / "JPEGImages", folder / "images", folder / "images/validation"):
            if jpegs := sorted(pictures.glob("*.jpg")):
                jpegs[0].write_bytes(b"")
                write(pictures / "notes.md", "x")
                write(pictures / "._a.jpg", "x")
    spec = SegmentationSource(source=name, path=str(folder), windows=None)  # type: ignore[arg-type]
    tally = build_index(spec, tmp_path / "index", tmp_path)["tally"]
    assert tally["unit"] == "pictures"
    assert tally["read"] == tally["used"] + sum(tally["failed"].values())
    assert tally["read"] + sum(tally["left_out"].values()) == count(folder)
    assert tally["failed"] == ({"empty file": 1} if spoilt else {})


def test_the_contents_of_packages_are_counted(tmp_path: Path, downloads: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every drawing and every stamp of the packages, whether wanted or not."""
    styles = ("openmoji", "twemoji")
    spec = EmojiSource(source="emoji", styles=styles, languages=("en",), exclude_groups=("Symbols",), limit=4, size=16)
    tally = build_index(spec, tmp_path / "emoji", downloads)["tally"]
    packages = EmojiPackages(downloads)
    assert set(tally["left_out"]) == {"beyond `limit`", "in `exclude_groups`", "no English name"}
    assert tally["read"] + sum(tally["left_out"].values()) == sum(len(packages.drawings(style)) for style in styles)
    assert tally["read"] == tally["used"] + sum(tally["failed"].values())
    assert tally["used"] == read_table(tmp_path / "emoji/images.parquet").num_rows

    names = {"animals/cat.txt": b"A cat.", "animals/cat.png": photo(0, "PNG"), "animals/dog.txt": b"A dog."}
    names |= {"food/pie.txt": b"\nde.utf8=Ein Kuchen.", "food/pie.png": photo(1, "PNG"), "animals/fox.txt": b"A fox."}
    names |= {"toys/kite.txt": b"A kite.", "animals/cow.svg": b"<svg", "animals/cow.txt": b"A cow."}
    monkeypatch.setattr("pipeline.datasets.stamps.fetch", lambda *_: b"")
    root = "usr/share/tuxpaint/stamps/"
    monkeypatch.setattr(
        "pipeline.datasets.stamps.deb_members", lambda *_: [(root + name, held) for name, held in names.items()]
    )
    stamps = StampsSource(source="stamps", languages=("en",), exclude_categories=("toys",), limit=4, size=16)
    tally = build_index(stamps, tmp_path / "stamps", downloads)["tally"]
    assert tally["unit"] == "stamps"
    assert tally["left_out"] == {"in `exclude_categories`": 1, "beyond `limit`": 1}
    assert tally["failed"] == {"no picture": 2, "cannot be rendered": 1}
    assert tally["read"] + sum(tally["left_out"].values()) == sum(name.endswith(".txt") for name in names)
    assert tally["used"] == 1


def test_the_rows_of_text_tasks_are_counted(tmp_path: Path, downloads: Path) -> None:
    spec = TextTasksSource(source="text-tasks", languages=("de",), limit=10)
    tally = build_index(spec, tmp_path / "index", downloads)["tally"]
    rows = read_table(tmp_path / "index/tasks.parquet").num_rows
    assert tally == {"read": rows, "used": rows, "failed": {}, "left_out": {}, "unit": "queries and pairs"}


def test_every_kind_of_source_is_counted() -> None:
    """A source that is added to params.yaml needs a case here."""
    (union, *_) = get_args(DatasetSpec)
    kinds = {kind for model in get_args(union) for kind in get_args(model.model_fields["source"].annotation)}
    layouts = {ENTRIES[name]["source"] for name in LAYOUTS}
    assert kinds == {*layouts, *MAPS, *SOURCES, "emoji", "stamps", "text-tasks"}


def test_files_of_one_name_and_captions_without_a_picture(tmp_path: Path) -> None:
    LAYOUTS["urban1k"](tmp_path / "urban1k")
    (folder,) = (path for path in (tmp_path / "urban1k").rglob("image") if path.is_dir())
    first = min(folder.iterdir())
    write(first.with_suffix(".png"), photo(7, "PNG"))
    write(folder.parent / "caption/99.txt", "a caption")
    entry = moved(ENTRIES["urban1k"], tmp_path) | {"max_failure_rate": 1.0}
    spec: Any = TypeAdapter(DatasetSpec).validate_python(entry)
    tally = build_index(spec, tmp_path / "index", tmp_path)["tally"]
    assert tally["left_out"] == {"another file of the same name and another ending": 1}
    assert tally["failed"] == {"a caption without a picture": 1}
    assert tally["read"] + 1 == files(tmp_path / "urban1k")


def test_halves_of_a_sample_are_never_two_samples_in_silence(tmp_path: Path) -> None:
    """Both halves could be used; as in webdataset each is a sample, and the second is listed."""
    write_tar(
        tmp_path / "0.tar",
        [
            *(("a.jpg", photo(0)), ("a.txt", b"one"), ("b.jpg", photo(1)), ("b.txt", b"b")),
            *(("a.png", photo(2, "PNG")), ("a.json", b"{}"), ("a.txt", b"two")),
        ],
    )
    write_tar(tmp_path / "1.tar", [("a.jpg", photo(3)), ("a.txt", b"another archive")])
    joined = (tmp_path / "0.tar").read_bytes() + (tmp_path / "1.tar").read_bytes()
    (tmp_path / "1.tar").unlink()
    (tmp_path / "0.tar").write_bytes(joined)
    spec: Any = TypeAdapter(DatasetSpec).validate_python({"source": "webdataset", "path": f"{tmp_path}/0.tar"})
    about = build_index(spec, tmp_path / "index", tmp_path)
    failures = pq.read_table(tmp_path / "index/failures.parquet").to_pylist()
    assert [row["key"] for row in failures] == ["0.tar: a"]
    assert "stand apart in the archive: write them side by side (tar --sort=name)" in failures[0]["reason"]
    assert about["tally"]["used"] == about["tally"]["read"] == 9
