"""The memory of known pictures: what it says is dropped when a hash proves it wrong, and indexing does without it."""

import errno
import logging
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.config import ImageFolderSource, RawSource, WebdatasetSource
from pipeline.datasets import known
from pipeline.datasets.decode import ImageTable
from pipeline.datasets.index import build_index
from pipeline.datasets.known import FILE, doubt, doubted
from pipeline.datasets.raw_files import listing
from pipeline.errors import DataError
from pipeline.paths import WORK_VARIABLE
from tests.datasets.conftest import picture
from tests.datasets.layouts import write, write_tar

LENGTH = 200  # bytes of each picture; what follows the end of a PNG is ignored
OLD = 10**18  # nanoseconds since 1970


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(WORK_VARIABLE, str(tmp_path / "work"))
    return tmp_path / "work"


def padded(number: int) -> bytes:
    return picture(number).ljust(LENGTH, b"\0")


def old(path: Path) -> None:
    os.utime(path, ns=(OLD, OLD))


def folder_of_files(root: Path, last: int) -> RawSource:
    for number, content in enumerate((1, 2, last)):
        path = root / "raw" / f"{number}.png"
        write(path, padded(content))
        write(path.with_suffix(".txt"), f"thing {number}")
        old(path)
        old(path.with_suffix(".txt"))
    return ImageFolderSource(source="image-folder", path=str(root / "raw"), captions="beside", labels="none")


def tar_of_files(root: Path, last: int) -> RawSource:
    path = root / "raw" / "0.tar"
    path.parent.mkdir(exist_ok=True)
    write_tar(
        path,
        [
            (f"{n}.{kind}", value)
            for n, c in enumerate((1, 2, last))
            for kind, value in (("png", padded(c)), ("txt", b"a word"))
        ],
    )
    old(path)
    return WebdatasetSource(source="webdataset", path=str(path))


@pytest.mark.parametrize("made", [folder_of_files, tar_of_files])
def test_what_changed_behind_size_and_time_is_indexed_anew_once_it_was_noticed(
    made: Callable[[Path, int], RawSource], tmp_path: Path, work: Path
) -> None:
    spec = made(tmp_path, 3)
    build_index(spec, tmp_path / "before", tmp_path, work)
    before = listing(spec, doubted(work))
    made(tmp_path, 4)
    build_index(spec, tmp_path / "blind", tmp_path, work)
    assert listing(spec, doubted(work)) == before, "neither the listing nor the memory can see it"
    table = ImageTable(tmp_path / "blind")
    table.load(1)
    with pytest.raises(DataError, match="has changed since it was indexed; run: dvc repro"):
        table.load(2)
    noticed = listing(spec, doubted(work))
    assert noticed is not None
    assert noticed["digest"] != before["digest"], "so that dvc repro runs the index"
    build_index(spec, tmp_path / "after", tmp_path, work)
    table = ImageTable(tmp_path / "after")
    assert table.load(2).getpixel((0, 0)) == (4, 0, 0)
    assert listing(spec, doubted(work)) == noticed, "and does so once"


def without_memory(tmp_path: Path, work: Path, caplog: pytest.LogCaptureFixture) -> None:
    spec = folder_of_files(tmp_path, 3)
    with caplog.at_level(logging.WARNING):
        for name in ("one", "two"):
            caplog.clear()
            assert build_index(spec, tmp_path / name, tmp_path, work)["counts"]["images"] == 3
            assert caplog.text.count("is not used") == 1, "one warning a run"
        doubt(work, tmp_path / "raw" / "0.png", 0, -1)
        assert "cannot be noted" in caplog.text
    assert listing(spec, doubted(work)) == listing(spec)


def test_a_memory_that_another_process_holds(
    tmp_path: Path, work: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known, "_PATIENCE", 0.05)
    spec = folder_of_files(tmp_path, 3)
    build_index(spec, tmp_path / "first", tmp_path, work)
    other = sqlite3.connect(work / FILE, isolation_level=None)
    rows = other.execute("SELECT count(*) FROM images").fetchone()
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    without_memory(tmp_path, work, caplog)
    other.execute("ROLLBACK")
    assert other.execute("SELECT count(*) FROM images").fetchone() == rows, "it is not deleted"
    other.close()


def test_a_memory_that_is_taken_while_it_is_used(
    tmp_path: Path, work: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known, "_PATIENCE", 0.05)
    taken: list[sqlite3.Connection] = []
    put = known.KnownImages.put

    def late(self: known.KnownImages, place: bytes | None, checked: known.Checked) -> None:
        if not taken:
            taken.append(sqlite3.connect(work / FILE, isolation_level=None))
            taken[0].execute("BEGIN IMMEDIATE")
        put(self, place, checked)

    monkeypatch.setattr(known.KnownImages, "put", late)
    assert build_index(folder_of_files(tmp_path, 3), tmp_path / "one", tmp_path, work)["counts"]["images"] == 3
    assert caplog.text.count("is not used") == 1
    taken[0].close()


def test_a_path_that_is_too_long_for_sqlite(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path.joinpath(*["x" * 100] * 6)
    monkeypatch.setenv(WORK_VARIABLE, str(deep))
    without_memory(tmp_path, deep, caplog)


@pytest.mark.parametrize("kind", ["a file", "a link", "a folder"])
def test_a_folder_that_cannot_hold_it(kind: str, tmp_path: Path, work: Path, caplog: pytest.LogCaptureFixture) -> None:
    target = tmp_path / "theirs.sqlite"
    if kind == "a file":
        work.write_bytes(b"in the way")
    else:
        work.mkdir()
        (work / FILE).mkdir() if kind == "a folder" else (work / FILE).symlink_to(target)
    without_memory(tmp_path, work, caplog)
    assert not target.exists(), "nothing is written through a link"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_only_be_read(tmp_path: Path, work: Path, caplog: pytest.LogCaptureFixture) -> None:
    work.mkdir(mode=0o555)
    without_memory(tmp_path, work, caplog)


def test_a_memory_on_a_disk_that_is_read_only(
    tmp_path: Path, work: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(known.sqlite3, "connect", refused)
    without_memory(tmp_path, work, caplog)


def test_a_damaged_memory_is_replaced_with_what_lies_beside_it(tmp_path: Path, work: Path) -> None:
    spec = folder_of_files(tmp_path, 3)
    build_index(spec, tmp_path / "one", tmp_path, work)
    (work / FILE).write_bytes(b"not a database" * 99)
    (work / f"{FILE}-wal").write_bytes(b"nor this")
    build_index(spec, tmp_path / "two", tmp_path, work)
    with sqlite3.connect(work / FILE) as database:
        assert database.execute("SELECT count(*) FROM images").fetchone() == (3,)
    shutil.rmtree(work)
    assert doubted(work) == {}
