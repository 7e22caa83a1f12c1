"""Locks and journals of a shared work folder: nothing is written through what somebody put in their place."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import timings
from pipeline.encoding.remembered import LAYOUT, recall, remember
from pipeline.errors import StoreError, WorkFolderError
from pipeline.features import ArraySpec
from pipeline.features.scratch import claimed, exclusive
from pipeline.features.shards import ShardWriter
from pipeline.paths import WORK_VARIABLE
from pipeline.plain_files import append_line, open_plain, write_whole
from tests.features.stores import normal

THEIRS = b"years of work\n"


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A file outside of the work folder that must stay as it is."""
    path = tmp_path / "theirs"
    path.write_bytes(THEIRS)
    return path


def link(path: Path, theirs: Path) -> None:
    path.symlink_to(theirs)


def dangling(path: Path, theirs: Path) -> None:
    path.symlink_to(theirs.with_name("new"))


def pipe(path: Path, _: Path) -> None:
    os.mkfifo(path)


def folder(path: Path, _: Path) -> None:
    path.mkdir()


PUT = pytest.mark.parametrize("put", [link, dangling, pipe, folder])


@PUT
def test_a_lock(put: Callable[[Path, Path], None], tmp_path: Path, theirs: Path) -> None:
    put(tmp_path / "lock", theirs)
    with pytest.raises(WorkFolderError, match="Find out who put it there, and delete it"), exclusive(tmp_path):
        pytest.fail("nobody can hold it")
    assert theirs.read_bytes() == THEIRS
    assert not theirs.with_name("new").exists()


def test_a_lock_with_a_second_name_is_held_but_not_written(tmp_path: Path, theirs: Path) -> None:
    os.link(theirs, tmp_path / "lock")
    with exclusive(tmp_path):
        assert theirs.read_bytes() == THEIRS
        with claimed(tmp_path) as holder:
            assert holder == "unknown", "what stands in it is not taken for a process"
        with pytest.raises(StoreError, match="process unknown"), exclusive(tmp_path):
            pytest.fail("it is held")


def test_a_lock_names_who_holds_it(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("the number of one that ended, which was longer")
    with exclusive(tmp_path), claimed(tmp_path) as holder:
        assert holder == str(os.getpid())
    with claimed(tmp_path) as holder:
        assert holder is None


@PUT
def test_a_journal(
    put: Callable[[Path, Path], None],
    tmp_path: Path,
    theirs: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(WORK_VARIABLE, str(tmp_path))
    put(timings.journal_path(), theirs)
    with caplog.at_level(logging.WARNING):
        timings.record("splits", "")
    assert "Nothing is noted there" in caplog.text
    assert theirs.read_bytes() == THEIRS
    assert not theirs.with_name("new").exists()


def test_a_journal_with_a_second_name(tmp_path: Path, theirs: Path, caplog: pytest.LogCaptureFixture) -> None:
    append_line(tmp_path / "new" / "journal", "one")
    append_line(tmp_path / "new" / "journal", "two")
    assert (tmp_path / "new" / "journal").read_text() == "one\ntwo\n"
    os.link(theirs, tmp_path / "journal")
    append_line(tmp_path / "journal", "three")
    assert theirs.read_bytes() == THEIRS
    assert "second name" in caplog.text


def test_a_small_file_takes_the_place_of_a_link(tmp_path: Path, theirs: Path) -> None:
    (tmp_path / LAYOUT).symlink_to(theirs)
    remember(tmp_path, {"notes": {}})
    assert recall(tmp_path) == {"notes": {}}
    assert not (tmp_path / LAYOUT).is_symlink()
    assert theirs.read_bytes() == THEIRS
    with pytest.raises(IsADirectoryError):
        write_whole(tmp_path, b"")
    assert not list(tmp_path.parent.glob(f".{tmp_path.name}*")), "nothing is left behind"


def test_a_folder_above_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "work").symlink_to(tmp_path / "disk")
    os.close(open_plain(tmp_path / "work" / "lock", os.O_RDWR | os.O_CREAT))
    assert (tmp_path / "disk" / "lock").is_file()


@pytest.mark.parametrize("name", ["{key}.partial", "{key}"])
def test_a_shard_takes_the_place_of_a_link(name: str, tmp_path: Path) -> None:
    kept = tmp_path / "theirs"
    kept.mkdir()
    (kept / "cls").write_bytes(THEIRS)
    scratch = tmp_path / "scratch"
    values = normal(4, 2, 5)
    with ShardWriter(scratch, [ArraySpec("cls", (2, 5), "float16")], list("abcd"), 4) as writer:
        key = writer._final.name
    (scratch / name.format(key=key)).symlink_to(kept)
    with ShardWriter(scratch, [ArraySpec("cls", (2, 5), "float16")], list("abcd"), 4) as writer:
        writer.append({"cls": values}, [None] * 4)
        shard = writer.finish()
    assert not shard.folder.is_symlink()
    assert (kept / "cls").read_bytes() == THEIRS
