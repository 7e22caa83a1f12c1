"""One value, however odd, costs its own sample and never the index."""

import csv
import gzip
import io
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config import (
    CaptionFileSource,
    ClipBenchmarkSource,
    ImageFolderSource,
    LongCaptionSource,
    TableSource,
    WebdatasetSource,
)
from pipeline.datasets import lines, walk
from pipeline.datasets.index import build_index
from pipeline.datasets.lines import EndlessLine, Lines, LongLine
from pipeline.datasets.raw_files import listing, located
from pipeline.datasets.tables import read_table
from pipeline.datasets.tally import kind_of
from pipeline.errors import SourceError
from tests.datasets import layouts
from tests.datasets.layouts import photo, write, write_tar
from tests.datasets.test_bad_input import SHARED, build

LONE = "odd \ud83d here"
FIELDS = ("image", "caption", "language", "concept", "classname", "category", "split", "key")


def table_of(path: Path, **columns: Any) -> TableSource:
    return TableSource.model_validate({"source": "table", "path": str(path), "columns": columns, **SHARED})


@pytest.mark.parametrize("field", [*FIELDS, "url", "metadata"])
@pytest.mark.parametrize("value", [LONE, "\ud800", "a\0b", "x" * 5000])
def test_no_field_of_a_row_ends_the_index(field: str, value: str, tmp_path: Path) -> None:
    """Only the caption may be that long, and hold a zero byte; `url` and `metadata` are columns that are not named."""
    write(tmp_path / "a.jpg", photo(0))
    write(tmp_path / "b.jpg", photo(1))
    good = {"image": "a.jpg", "caption": "A kite.", "language": "en", "key": "first"}
    rows = [good, {**good, "image": "b.jpg", "key": "second"} | {field: value}]
    if field == "metadata":
        rows[1]["metadata"] = {value: [value]}  # type: ignore[assignment]
    write(tmp_path / "t.jsonl", "\n".join(json.dumps(row) for row in rows))
    spec = table_of(tmp_path / "t.jsonl", **{name: name for name in FIELDS})
    about = build_index(spec, tmp_path / "index", tmp_path)
    keys = read_table(tmp_path / "index/images.parquet")["key"].to_pylist()
    usable = field in ("url", "metadata") or (field == "caption" and value not in (LONE, "\ud800"))
    assert keys == (["first", "second"] if usable else ["first"])
    assert about["tally"]["read"] == 2
    assert sum(about["tally"]["failed"].values()) == (0 if usable else 1)
    for path in (tmp_path / "index").glob("*.parquet"):
        read_table(path)  # valid UTF-8 throughout


def test_lone_surrogates_in_the_other_sources(tmp_path: Path) -> None:
    write(tmp_path / "raw/a.jpg", photo(0))
    images = [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": f"{LONE}.jpg"}]
    said = [{"image_id": 1, "caption": "A kite."}, {"image_id": LONE, "caption": "x"}, {"image_id": 2, "caption": "y"}]
    write(tmp_path / "captions.json", json.dumps({"images": images, "annotations": said}))
    spec = CaptionFileSource(
        source="coco",
        annotations=f"{tmp_path}/captions.json",
        images=f"{tmp_path}/raw",
        **SHARED,  # type: ignore[arg-type]
    )
    keys, failures = build(spec, tmp_path / "coco")
    assert keys == ["a.jpg"]
    assert len(failures) == 2
    about = {"caption": "A kite.", LONE: LONE, "title": LONE}
    members = [("a.jpg", photo(0)), ("a.json", json.dumps(about).encode()), ("b.jpg", photo(1))]
    write_tar(tmp_path / "0.tar", [*members, ("b.json", json.dumps({LONE: 1}).encode())])
    tars = WebdatasetSource(
        source="webdataset", path=f"{tmp_path}/0.tar", captions=("json.caption", "json.title"), **SHARED
    )
    keys, failures = build(tars, tmp_path / "tars")
    assert keys == ["0/a"]
    assert "caption 2: caption is not valid UTF-8" in failures["0.tar: a"]
    assert "fields of its .json: odd \\ud83d here" in failures["0.tar: b"]


def test_numbers_of_too_many_digits(tmp_path: Path) -> None:
    huge = "9" * 5000
    write_tar(
        tmp_path / "0.tar",
        [("a.jpg", photo(0)), ("a.txt", b"x"), ("b.jpg", photo(1)), ("b.json", f'{{"caption": {huge}}}'.encode())],
    )
    spec = WebdatasetSource(source="webdataset", path=f"{tmp_path}/0.tar", captions=("txt", "json.caption"), **SHARED)
    keys, failures = build(spec, tmp_path / "tars")
    assert keys == ["0/a"]
    assert "its .json is not valid JSON" in failures["0.tar: b"]
    layouts.clip_classes(tmp_path / "clip")
    write_tar(
        tmp_path / "clip/test/0.tar",
        [("a.jpg", photo(0)), ("a.cls", b"1"), ("b.jpg", photo(1)), ("b.cls", huge.encode())],
    )
    clip = ClipBenchmarkSource(source="clip-benchmark", path=str(tmp_path / "clip"), **SHARED)
    keys, failures = build(clip, tmp_path / "index")
    assert keys == ["a"]
    assert "classnames.txt has the numbers 0 to 1" in failures["test/0.tar: b"]
    write(tmp_path / "clip/test/nshards.txt", huge)
    with pytest.raises(SourceError, match="does not hold the number of archives"):
        build(clip, tmp_path / "index")


@pytest.fixture
def short_lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Limits of kilobytes in place of megabytes."""
    limit = csv.field_size_limit()
    monkeypatch.setattr(lines, "MAX_LINE", 1000)
    monkeypatch.setattr(lines, "_MAX_ROW", 4000)
    monkeypatch.setattr(lines, "_MAX_SKIPPED", 50_000)
    yield 1000
    csv.field_size_limit(limit)


def test_lines_are_read_in_pieces(short_lines: int) -> None:
    class Counting(io.BytesIO):
        most = 0

        def readline(self, size: int | None = -1, /) -> bytes:
            assert size is not None
            assert 0 < size <= short_lines
            return super().readline(size)

    file = Counting(b"one\n" + b"x" * 9000 + b"\nthree\n" + b"y" * short_lines + b"\n" + b"z" * 60_000 + b"\nlost\n")
    found = Lines(file, b"\n")
    assert next(found) == b"one\n"
    with pytest.raises(LongLine, match="longer than 1,000 characters"):
        next(found)
    assert (next(found), found.number) == (b"three\n", 3)
    with pytest.raises(LongLine):
        next(found)
    with pytest.raises(EndlessLine, match="what follows is not read"):
        next(found)


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl"])
def test_a_line_that_unpacks_to_very_much(kind: str, short_lines: int, tmp_path: Path) -> None:
    write(tmp_path / "a.jpg", photo(0))
    sign = "\t" if kind == "tsv" else ","
    row = '{"image": "a.jpg", "caption": "%s"}\n' if kind == "jsonl" else f"a.jpg{sign}%s\n"
    start = "" if kind == "jsonl" else f"image{sign}caption\n"
    long, endless = row % ("y" * 9 * short_lines), row % ("y" * 99 * short_lines)
    for name, content, texts in (
        ("long", start + row % "first" + long + row % "second", ["first", "second"]),
        ("endless", start + row % "first" + endless + row % "second", ["first"]),
    ):
        path = tmp_path / f"{name}.{kind}.gz"
        write(path, gzip.compress(content.encode()))
        _, failures = build(table_of(path), tmp_path / name)
        assert read_table(tmp_path / name / "texts.parquet")["text"].to_pylist() == texts
        (reason,) = failures.values()
        assert "longer than" in reason


@pytest.mark.usefixtures("short_lines")
def test_a_row_of_many_lines_is_bounded(tmp_path: Path) -> None:
    write(tmp_path / "a.jpg", photo(0))
    cells = ",".join('"' + "y" * 900 + '\n"' for _ in range(9))
    write(tmp_path / "t.csv", f"image,caption\na.jpg,first\na.jpg,{cells}\na.jpg,second\n")
    _, failures = build(table_of(tmp_path / "t.csv"), tmp_path / "index")
    assert "first" in (texts := read_table(tmp_path / "index/texts.parquet")["text"].to_pylist())
    assert any("a row of more than 4,000 characters" in reason for reason in failures.values())
    assert not any("yyy" in text for text in texts)


@pytest.mark.usefixtures("short_lines")
def test_flickr30k_with_an_endless_line_and_cut_short(tmp_path: Path) -> None:
    write(tmp_path / "a.jpg", photo(0))
    good = "a.jpg#0\tA kite.\n"
    packed = gzip.compress((good + "".join(f"a.jpg#{n}\t{'x' * (n % 97)}{n}\n" for n in range(999))).encode())
    for name, content, reason in (
        ("long.token", (good + "a.jpg#1\t" + "x" * 9000 + "\n").encode(), "the line is longer than"),
        ("cut.token.gz", packed[: len(packed) // 2], "the file is cut short"),
    ):
        write(tmp_path / name, content)
        spec = CaptionFileSource(source="flickr30k", annotations=f"{tmp_path}/{name}", images=str(tmp_path), **SHARED)
        keys, failures = build(spec, tmp_path / "index")
        assert keys == ["a.jpg"]
        assert any(reason in found for found in failures.values())


def test_a_header_of_very_many_columns(tmp_path: Path) -> None:
    write(tmp_path / "t.csv", "image,caption" + ",x" * 20_000 + "\n")
    with pytest.raises(SourceError, match="has 20,002 columns; at most 10,000 are read"):
        build(table_of(tmp_path / "t.csv"), tmp_path / "index")


def claimed(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """The header of a member that claims a size."""
    entry = tarfile.TarInfo(name)
    entry.type = kind
    entry.size = size
    return entry.tobuf(tarfile.GNU_FORMAT)


CLAIMS = {
    "a picture of 2^50 bytes": claimed("b.jpg", 1 << 50),
    "a text of 2^50 bytes": claimed("a.txt", 1 << 50),
    "a long name of 2^50 bytes": claimed("x", 1 << 50, tarfile.GNUTYPE_LONGNAME),
    "a PAX header of 2^50 bytes": claimed("x", 1 << 50, tarfile.XHDTYPE),
    "less than nothing": claimed("b.jpg", -1024),
    "a PAX size that is none": claimed("x", 14, tarfile.XHDTYPE)
    + b"14 size=-1024\n".ljust(512, b"\0")
    + claimed("b.jpg", 0),
    "a sparse file without its map": claimed("b.jpg", 512, tarfile.GNUTYPE_SPARSE)[:482] + b"\1" * 30,
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_what_a_member_of_a_tar_claims(claim: str, tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", [("a.jpg", photo(0)), ("a.txt", b"A kite.")])
    whole = (tmp_path / "0.tar").read_bytes().rstrip(b"\0")
    whole = whole.ljust(-(-len(whole) // 512) * 512, b"\0")
    write(tmp_path / "0.tar", whole + CLAIMS[claim])
    write_tar(tmp_path / "1.tar", [("c.jpg", photo(1)), ("c.txt", b"A saw.")])
    spec = WebdatasetSource(source="webdataset", path=f"{tmp_path}/?.tar", **SHARED)
    keys, failures = build(spec, tmp_path / "index")
    assert keys == ["0/a", "1/c"]
    assert any("damaged" in reason for reason in failures.values())


def test_members_that_are_there_but_too_large(tmp_path: Path) -> None:
    path = tmp_path / "0.tar"
    parts = (("a.jpg", 2 << 30), ("a.txt", 7), ("b.jpg", 0), ("b.txt", 20 << 20))
    with open(path, "wb") as file:
        for name, size in parts:
            file.write(claimed(name, size))
            file.seek(-(-size // 512) * 512, os.SEEK_CUR)
        file.truncate(file.tell() + 1024)
    spec = WebdatasetSource(source="webdataset", path=str(path), **SHARED)
    with pytest.raises(SourceError, match="none of 2 samples") as raised:
        build(spec, tmp_path / "index")
    assert "too large: 2,147,483,648 bytes" in str(raised.value)
    assert "a text of 20,971,520 bytes; at most 16,777,216" in str(raised.value)


def test_cells_of_parquet_that_python_cannot_hold(tmp_path: Path) -> None:
    write(tmp_path / "a.jpg", photo(0))
    far = pa.array([0, 1 << 62], pa.int64()).cast(pa.timestamp("us"))
    pq.write_table(pa.table({"image": ["a.jpg", "a.jpg"], "caption": far, "key": ["x", "y"]}), tmp_path / "t.parquet")
    spec = table_of(tmp_path / "t.parquet", caption="caption", key="key", concept=None, classname="key")
    _, failures = build(spec, tmp_path / "index")
    assert "caption is a datetime" in failures["row 1: x"]
    assert "the row has a value that cannot be read" in failures["row 2"]


def test_a_picture_in_a_cell_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.datasets.samples.MAX_PICTURE", 1000)
    table = pa.table({"image": [photo(0), photo(1) + bytes(2000)], "caption": ["x", "y"]})
    pq.write_table(table, tmp_path / "t.parquet")
    keys, failures = build(table_of(tmp_path / "t.parquet"), tmp_path / "index")
    assert keys == ["row 1"]
    assert "of which at most 1,000 are read" in failures["row 2"]


def test_reasons_are_told_apart_in_linear_time() -> None:
    assert len(kind_of("x" * 10_000_000)) <= 1000


def image_folder(root: Path, **more: Any) -> ImageFolderSource:
    return ImageFolderSource.model_validate({"source": "image-folder", "path": str(root), **SHARED, **more})


@pytest.mark.parametrize("order", ["name", "time"])
def test_files_and_folders_that_vanish_while_they_are_listed(
    order: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("cat/a.jpg", "cat/b.jpg", "dog/c.jpg"):
        write(tmp_path / "raw" / name, photo(ord(name[4])))
    hidden = walk.hidden

    def seen(name: str) -> bool:
        if name == "b.jpg":  # listed, and now it is gone, with the folder behind it
            (tmp_path / "raw/cat/b.jpg").unlink(missing_ok=True)
            (tmp_path / "raw/dog/c.jpg").unlink(missing_ok=True)
            (tmp_path / "raw/dog").exists() and (tmp_path / "raw/dog").rmdir()
        return hidden(name)

    monkeypatch.setattr(walk, "hidden", seen)
    found = listing(image_folder(tmp_path / "raw"))
    assert found is not None
    assert found["files"] == 1
    write(tmp_path / "raw/cat/b.jpg", photo(1))
    write(tmp_path / "raw/dog/c.jpg", photo(2))
    keys, failures = build(image_folder(tmp_path / "raw", order=order), tmp_path / "index")
    assert keys == ["cat/a.jpg"]
    assert set(failures) <= {"cat/b.jpg"}, "what was gone before it was listed is not there"
    assert all("no such file" in reason for reason in failures.values())


def test_links_in_a_circle_and_folders_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "raw/cat/a.jpg", photo(0))
    (tmp_path / "raw/cat/round.jpg").symlink_to("round.jpg")
    (tmp_path / "raw/shut").mkdir()
    scan = os.scandir

    def scanned(path: Any) -> Any:
        if Path(path).name == "shut":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(walk.os, "scandir", scanned)
    keys, failures = build(image_folder(tmp_path / "raw"), tmp_path / "index")
    assert keys == ["cat/a.jpg"]
    assert failures["shut"] == "the folder cannot be listed: Permission denied"
    assert "Too many levels of symbolic links" in failures["cat/round.jpg"]
    found = listing(image_folder(tmp_path / "raw"))
    assert found is not None
    assert found["files"] == 2


@pytest.mark.parametrize("written", ["/data/a\0b", "~nobody-of-that-name/x", "/data/\ud800", "/data/" + "x" * 300])
def test_paths_of_params_yaml_that_are_none(written: str, tmp_path: Path) -> None:
    for spec in (
        table_of(Path(written)),
        LongCaptionSource(source="docci", path=written),
        image_folder(Path(written)),
        WebdatasetSource(source="webdataset", path=f"{written}/*.tar"),
    ):
        with pytest.raises(SourceError):
            build(spec, tmp_path / "index")
        try:
            assert listing(spec) is None
        except SourceError as error:
            assert "is not a path" in str(error)  # noqa: PT017 (either is right)


def test_a_path_with_a_zero_byte_is_named() -> None:
    with pytest.raises(SourceError, match="is not a path: embedded null"):
        located("/data/a\0b")


def test_a_pattern_for_very_many_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.datasets.raw_files._MOST_NAMES", 100)
    with pytest.raises(SourceError, match="stands for more than 100 names"):
        build(WebdatasetSource(source="webdataset", path=f"{tmp_path}/{{0..999}}.tar"), tmp_path / "index")
