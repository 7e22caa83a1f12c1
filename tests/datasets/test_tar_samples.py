"""Tars as people make them: appended, sparse, unsorted, with names of several dots."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import WebdatasetSource
from pipeline.datasets.decode import ImageTable
from pipeline.datasets.index import build_index
from pipeline.datasets.tables import read_table
from tests.datasets.layouts import photo, write, write_tar


def build(folder: Path, pattern: str = "*.tar", **options: Any) -> tuple[list[str], dict[str, str]]:
    """Keys, and the reason of each failure."""
    spec = WebdatasetSource(source="webdataset", path=f"{folder}/{pattern}", max_failure_rate=1.0, **options)
    build_index(spec, folder / "index", folder)
    keys: list[str] = read_table(folder / "index/images.parquet")["key"].to_pylist()
    failures = read_table(folder / "index/failures.parquet").to_pylist()
    return keys, {row["key"]: row["reason"] for row in failures}


def pair(name: str, number: int) -> list[tuple[str, bytes]]:
    return [(f"{name}.jpg", photo(number)), (f"{name}.txt", f"caption {number}".encode())]


@pytest.mark.parametrize("parts", [2, 3])
def test_appended_archives_are_read_to_their_end(parts: int, tmp_path: Path) -> None:
    for number in range(parts):
        write_tar(tmp_path / "parts" / f"{number}.tar", pair("0", number))  # the same key in each
    whole = b"".join((tmp_path / "parts" / f"{number}.tar").read_bytes() for number in range(parts))
    write(tmp_path / "all.tar", whole)
    assert build(tmp_path) == (["all/0"] * parts, {})
    table = ImageTable(tmp_path / "index")
    assert [table.load(n).getpixel((0, 0))[0] for n in range(parts)] == pytest.approx(  # type: ignore[index]
        [4 * n for n in range(parts)], abs=3
    )


def test_what_lies_behind_the_end_and_is_no_tar_is_one_failure(tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", pair("0", 0))
    with open(tmp_path / "0.tar", "ab") as file:
        file.write(b"\0" * 4096 + b"appended log" * 99)
    keys, failures = build(tmp_path)
    assert keys == ["0/0"]
    assert list(failures) == ["0.tar"]
    assert "damaged or cut short at byte" in failures["0.tar"]


@pytest.mark.parametrize("fields", [{"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}, {"GNU.sparse.map": "0,9"}])
def test_sparse_members_are_refused(fields: dict[str, str], tmp_path: Path) -> None:
    content = photo(1)
    map_block = b"1\n0\n" + str(len(content)).encode() + b"\n"
    stored = map_block.ljust(512, b"\0") + content if "GNU.sparse.major" in fields else content
    with tarfile.open(tmp_path / "0.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        entry = tarfile.TarInfo("1.jpg")
        entry.pax_headers = {**fields, "GNU.sparse.name": "1.jpg", "GNU.sparse.realsize": str(len(content))}
        entry.size = len(stored)
        archive.addfile(entry, io.BytesIO(stored))
        for name, other in pair("0", 0):
            entry = tarfile.TarInfo(name)
            entry.size = len(other)
            archive.addfile(entry, io.BytesIO(other))
    keys, failures = build(tmp_path)
    assert keys == ["0/0"]
    assert failures == {"0.tar: 1.jpg": "refused: a sparse file, whose bytes are not side by side"}


def test_files_of_a_sample_that_stand_apart_are_named(tmp_path: Path) -> None:
    members = [*pair("a", 0), *pair("b", 1)]
    write_tar(tmp_path / "0.tar", [members[0], members[2], members[1], members[3]])
    write_tar(tmp_path / "1.tar", pair("c", 2))
    keys, failures = build(tmp_path)
    assert keys == ["1/c"]
    assert failures.keys() == {"0.tar: a", "0.tar: b"}
    assert all("tar --sort=name" in reason for reason in failures.values())


def test_a_picture_with_dots_in_its_name(tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", [("a.input.jpg", photo(0)), ("a.txt", b"one")])
    write_tar(tmp_path / "1.tar", [("b.input.jpg", photo(1)), ("b.target.png", photo(2)), ("b.txt", b"two")])
    write_tar(tmp_path / "2.tar", [("c.mask.jpg", photo(3)), ("c.png", photo(4, "PNG")), ("c.txt", b"c")])
    write_tar(tmp_path / "3.tar", [("d.JFIF", photo(5)), ("d.txt", b"d")])
    keys, failures = build(tmp_path)
    assert keys == ["0/a", "2/c", "3/d"]
    assert failures == {"1.tar: b": "several pictures; its files are .input.jpg, .target.png, .txt"}
    assert ImageTable(tmp_path / "index").load(1).getpixel((0, 0)) == (16, 239, 128)  # the png


def test_a_sample_without_caption_says_what_is_there(tmp_path: Path) -> None:
    about = json.dumps({"url": "x", "title": "y"}).encode()
    write_tar(tmp_path / "0.tar", [("a.jpg", photo(0)), ("a.json", about), *pair("b", 1)])
    write_tar(tmp_path / "1.tar", [("c.jpg", photo(2)), ("c.json", json.dumps({"caption": "yes"}).encode())])
    _, failures = build(tmp_path, captions=("json.caption",))
    assert failures["0.tar: a"] == (
        "no caption and no label; looked for json.caption; its files are .jpg, .json; fields of its .json: title, url"
    )


@pytest.mark.parametrize("name", ["laion [256px]", "set*1", "a {b,c}", "what?"])
def test_signs_of_patterns_in_the_name_of_a_folder(name: str, tmp_path: Path) -> None:
    write_tar(tmp_path / name / "0.tar", pair("0", 0))
    write_tar(tmp_path / name / "1.tar", pair("1", 1))
    write_tar(tmp_path / "laion 2/2.tar", pair("2", 2))
    for pattern in (f"{name}/*.tar", f"{name}/{{0..1}}.tar", f"{name}/[01].tar"):
        assert build(tmp_path, pattern) == (["0/0", "1/1"], {})


def test_members_that_are_no_part_of_a_sample_are_counted(tmp_path: Path) -> None:
    others = [("README", b"x"), ("a/LICENSE", b"x"), ("._0.jpg", b"x"), ("__MACOSX/._0.txt", b"x")]
    write_tar(tmp_path / "0.tar", [*pair("0", 0), *others])
    spec = WebdatasetSource(source="webdataset", path=f"{tmp_path}/*.tar")
    tally = build_index(spec, tmp_path / "index", tmp_path)["tally"]
    assert tally["left_out"] == {"in a tar, without an extension": 2, "hidden": 2}
    assert (tally["read"], tally["used"]) == (2, 2)
