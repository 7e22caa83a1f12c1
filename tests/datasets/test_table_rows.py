"""Quotes, line ends, columns and pictures as text: what the common tables in circulation hold."""

import base64
import csv
import gzip
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config import CaptionFileSource, FolderSource, TableSource, Xtd10Source
from pipeline.datasets.table_rows import columns_of, rows_of
from pipeline.datasets.tables import image_id, read_table
from pipeline.errors import SourceError
from tests.datasets.layouts import photo, write
from tests.datasets.test_bad_input import SHARED, build

TSV: dict[str, str] = {
    'a lone " quote': 'a lone " quote',
    '"opens and never closes': '"opens and never closes',
    'closes and never opens"': 'closes and never opens"',
    '"Stop", says the "sign"': '"Stop", says the "sign"',
    '"a whole cell"': "a whole cell",
    '"a ""quoted"" word"': 'a "quoted" word',
    'a "" pair': 'a "" pair',
    "12' by 5\"": "12' by 5\"",
}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_every_line_of_tsv_is_a_row(end: str, tmp_path: Path) -> None:
    lines = [
        "image\tcaption\tsplit",
        *(f"{number}.jpg\t{cell}\ttrain" for number, cell in enumerate(TSV)),
        '"x\t"y\tz',
        "",
    ]
    write(tmp_path / "a.tsv", end.join(lines).encode())
    rows = list(rows_of(tmp_path / "a.tsv", ()))
    assert [row.values["caption"] for row in rows] == [*TSV.values(), '"y']
    assert [row.values["image"] for row in rows] == [*(f"{number}.jpg" for number in range(len(TSV))), '"x']
    assert [row.place for row in rows] == [f"line {number}" for number in range(2, 3 + len(TSV))]
    assert all(row.reason is None for row in rows)


def test_tsv_as_pythons_writer_quotes_it(tmp_path: Path) -> None:
    cells = ["plain", 'a "word"', "a\ttab", '"whole"', "'", '"']
    for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL):
        written = io.StringIO()
        writer = csv.writer(written, delimiter="\t", quoting=quoting)
        writer.writerows([["image", "caption"], *(["a.jpg", cell] for cell in cells)])
        write(tmp_path / "a.tsv", written.getvalue().encode())
        assert columns_of(tmp_path / "a.tsv") == ["image", "caption"]
        assert [row.values["caption"] for row in rows_of(tmp_path / "a.tsv", ())] == cells


@pytest.mark.parametrize("kind", ["csv", "tsv", "csv.gz"])
def test_a_carriage_return_inside_a_caption_is_a_space(kind: str, tmp_path: Path) -> None:
    mark = "," if "csv" in kind else "\t"
    lines = [["image", "caption"], ["a.jpg", "first\rsecond"], ["b.jpg", '"first\rsecond"'], ["c.jpg", "third"]]
    content = "".join(mark.join(line) + "\r\n" for line in lines).encode()
    write(tmp_path / f"a.{kind}", gzip.compress(content) if "gz" in kind else content)
    rows = [(row.place, row.values["image"], row.values["caption"]) for row in rows_of(tmp_path / f"a.{kind}", ())]
    assert rows == [
        ("line 2", "a.jpg", "first second"),
        ("line 3", "b.jpg", "first second"),
        ("line 4", "c.jpg", "third"),
    ]


@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_lines_that_end_in_carriage_returns_alone(kind: str, tmp_path: Path) -> None:
    mark = "," if kind == "csv" else "\t"
    write(tmp_path / f"a.{kind}", f"image{mark}caption\ra.jpg{mark}one\rb.jpg{mark}two\r".encode())
    rows = [(row.values["image"], row.values["caption"]) for row in rows_of(tmp_path / f"a.{kind}", ())]
    assert rows == [("a.jpg", "one"), ("b.jpg", "two")]


def test_a_line_break_in_quotes_stays_in_csv(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", b'image,caption\r\na.jpg,"one\r\ntwo"\r\n')
    assert [row.values["caption"] for row in rows_of(tmp_path / "a.csv", ())] == ["one\ntwo"]


def test_a_column_that_is_there_twice(tmp_path: Path) -> None:
    names = ["image", "caption", "caption", "other", "other"]
    write(tmp_path / "a.csv", ",".join(names) + "\na.jpg,x,y,,\n")
    write(tmp_path / "a.tsv", "\t".join(names) + "\na.jpg\tx\ty\t\t\n")
    table = pa.table([pa.array(["a.jpg"]), *[pa.array(["x"])] * 4], names=names)
    pq.write_table(table, tmp_path / "a.parquet")
    for kind in ("csv", "tsv", "parquet"):
        with pytest.raises(SourceError, match=r"has several columns caption\. Rename all but one; it has \['image', "):
            build(TableSource(source="table", path=f"{tmp_path}/a.{kind}", **SHARED), tmp_path / "index")
    write(tmp_path / "mine/captions.csv", "file,caption,file\na.jpg,x,b.jpg\n")
    with pytest.raises(SourceError, match="has several columns file"):
        build(FolderSource(source="folder", path=str(tmp_path / "mine"), **SHARED), tmp_path / "index")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_column_that_is_there_twice_and_not_used(kind: str, tmp_path: Path) -> None:
    write(tmp_path / "a.jpg", photo(0))
    names = ["image", "caption", "other", "other"]
    write(tmp_path / "a.csv", ",".join(names) + "\na.jpg,x,1,2\n")
    pq.write_table(
        pa.table([pa.array([cell]) for cell in ("a.jpg", "x", "1", "2")], names=names), tmp_path / "a.parquet"
    )
    spec = TableSource(source="table", path=f"{tmp_path}/a.{kind}", **SHARED)
    assert build(spec, tmp_path / "index") == (["a.jpg"], {})


def test_a_key_that_is_there_twice(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", '{"image": "a.jpg", "caption": "x", "caption": "y"}\n')
    (row,) = rows_of(tmp_path / "a.jsonl", ())
    assert row.reason == "it has several ['caption']"


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"])
def test_pictures_in_base64(form: str, tmp_path: Path) -> None:
    contents = [photo(number, form, (64, 64)) for number in range(3)]
    plain, address, broken = (base64.b64encode(content).decode() for content in contents)
    lines = [f"1\t{plain}\tone", f"2\tdata:image/x;base64,{address}\ttwo", f"3\t{broken[:-24]}!\tcut"]
    write(tmp_path / "a.tsv", "\n".join(["key\timage\tcaption", *lines]))
    spec = TableSource(source="table", path=f"{tmp_path}/a.tsv", columns={"key": "key"}, **SHARED)  # type: ignore[arg-type]
    keys, failures = build(spec, tmp_path / "index")
    assert keys == ["1", "2"]
    assert read_table(tmp_path / "index/images.parquet")["image_id"].to_pylist() == [image_id(c) for c in contents[:2]]
    assert list(failures) == ["line 4: 3"]


@pytest.mark.parametrize(
    "cell", ["A" * 95_000, base64.b64encode(b"\xff\xd8\xff" + b"no picture" * 9000).decode() + "!"]
)
def test_a_long_cell_that_names_no_picture_is_a_short_message(cell: str, tmp_path: Path) -> None:
    write(tmp_path / "a.jpg", photo(0))
    lines = [{"image": "a.jpg", "caption": "x"}, {"image": cell, "caption": "y"}]
    write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, lines)))
    spec = TableSource(source="table", path=f"{tmp_path}/a.jsonl", **SHARED)
    _, failures = build(spec, tmp_path / "index")
    assert failures == {"line 2": f"a text of {len(cell)} characters, not a path: {cell[:40]}..."}


@pytest.mark.parametrize(("name", "line"), [("a.token", "a.jpg#{}\t{}"), ("a.csv", "a.jpg| {}|{}")])
def test_carriage_returns_in_the_lines_of_flickr30k(name: str, line: str, tmp_path: Path) -> None:
    write(tmp_path / "a.jpg", photo(0))
    captions = ["first\rsecond", "third\u2028fourth", "fifth\x85sixth"]
    lines = [line.format(number, caption) for number, caption in enumerate(captions)]
    write(tmp_path / name, ("\r\n".join(lines) + "\r\n").encode())
    spec = CaptionFileSource(source="flickr30k", annotations=str(tmp_path / name), images=str(tmp_path), **SHARED)
    assert build(spec, tmp_path / "index") == (["a.jpg"], {})
    texts = read_table(tmp_path / "index/texts.parquet")["text"].to_pylist()
    assert texts == ["first second", "third\u2028fourth", "fifth\x85sixth"]


def test_carriage_returns_in_lists_of_xtd10(tmp_path: Path) -> None:
    for number in range(2):
        write(tmp_path / f"{number}.jpg", photo(number))
    write(tmp_path / "XTD10/test_image_names.txt", b"0.jpg\r\n1.jpg\r\n")
    write(tmp_path / "XTD10/test_1kcaptions_jp.txt", "one\rmore\r\ntwo\x0band\u2028more\r\n".encode())
    build(Xtd10Source(source="xtd10", path=str(tmp_path), images=str(tmp_path), **SHARED), tmp_path / "index")
    rows = read_table(tmp_path / "index/texts.parquet").to_pylist()
    assert [(row["text"], row["language"]) for row in rows] == [("one more", "ja"), ("two\x0band\u2028more", "ja")]
