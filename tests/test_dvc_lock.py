"""dvc.lock cut short, as DVC leaves it when it is killed or the disk is full while it writes it."""

import errno
import fcntl
import logging
import subprocess
import threading
from pathlib import Path

import pytest

from pipeline import dvc_lock
from pipeline.dvc_lock import LOCK, keep_or_restore, locked_stages, main, require_whole
from pipeline.errors import DamagedLock

NAMES = ("settings", "index@mine", "encode@mine-eye", "train@small", "report")


def entry(name: str, number: int = 0) -> str:
    return (
        f"  {name}:\n    cmd: python -m stages.{name}\n    deps:\n"
        f"    - path: data/in/{name}\n      hash: md5\n      md5: {number:032d}\n      size: 12\n"
        f"    outs:\n    - path: data/{name}\n      hash: md5\n      md5: {number + 1:032d}.dir\n      size: 12\n"
        f"      nfiles: 3\n"
    )


def lock(names: tuple[str, ...] = NAMES, **numbers: int) -> bytes:
    return ("schema: '2.0'\nstages:\n" + "".join(entry(name, numbers.get(name, 0)) for name in names)).encode()


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DVC project without Git; gives the place of the copy, for which nothing ran yet."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".dvc" / "tmp").mkdir(parents=True)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    return tmp_path / ".dvc" / "permafrost" / "locks" / "dvc.lock"


def git(*arguments: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    subprocess.run(["git", *who, *arguments], check=True, capture_output=True)


def committed(content: bytes) -> None:
    if not Path(".git").is_dir():
        git("init", "-q")
    LOCK.write_bytes(content)
    git("add", "dvc.lock")
    git("commit", "-qm", "a lock")


def test_a_whole_lock_is_kept_and_followed(kept: Path) -> None:
    assert keep_or_restore() == ""
    assert not kept.exists()
    for content in (lock(NAMES[:2]), lock(), lock(report=3), lock((*NAMES, "new"))):
        LOCK.write_bytes(content)
        assert keep_or_restore() == ""
        assert kept.read_bytes() == LOCK.read_bytes() == content
    assert list(locked_stages()) == [*NAMES, "new"]


def test_every_cut_is_put_right(kept: Path) -> None:
    """At whatever line, and at some bytes, the writing ends of a lock whose third stage has one more dependency."""
    new = lock().replace(b"data/in/encode@mine-eye\n", b"data/in/a\n    - path: data/in/encode@mine-eye\n")
    harmless = new.index(b"      size: 12\n", new.index(b"data/report"))  # after the digest of the last output
    ends = [number + 1 for number, byte in enumerate(new[:-1]) if byte == ord("\n")]
    for cut in sorted({*ends, *range(0, len(new) - 1, 41)}):
        LOCK.write_bytes(lock())
        keep_or_restore()
        LOCK.write_bytes(new[:cut])
        said = keep_or_restore()
        if cut >= harmless and new[cut - 1 : cut] == b"\n":
            assert LOCK.read_bytes() == new[:cut]
            assert list(locked_stages()) == list(NAMES)
        else:
            assert LOCK.read_bytes() == lock(), cut
            assert "dvc.lock was cut short" in said
            assert kept.with_name("dvc.lock.damaged").read_bytes() == new[:cut]


@pytest.mark.parametrize("content", [b"", bytes(300), b"\xff\xfe" * 40, b"[1, 2]\n", b"stages: 3\n", b"a: &a [*a]\n"])
def test_what_is_no_lock(content: bytes) -> None:
    LOCK.write_bytes(lock())
    keep_or_restore()
    LOCK.write_bytes(content)
    with pytest.raises(DamagedLock, match=r"dvc\.lock cannot be used: it .*python -m pipeline\.dvc_lock"):
        locked_stages()
    with pytest.raises(DamagedLock, match="python -m pipeline"):
        require_whole()
    assert main() == 0
    assert LOCK.read_bytes() == lock()
    require_whole()


def test_a_cut_that_can_be_read_stops_what_deletes() -> None:
    LOCK.write_bytes(lock())
    keep_or_restore()
    LOCK.write_bytes(lock(NAMES[:3]))
    assert list(locked_stages()) == list(NAMES[:3])
    with pytest.raises(DamagedLock, match="it ends after 3 of 5 stages"):
        require_whole()


def test_what_git_brought_back_is_meant(kept: Path) -> None:
    committed(lock(NAMES[:3]))
    committed(lock())
    keep_or_restore()
    git("checkout", "-q", "HEAD~1", "--", "dvc.lock")
    assert keep_or_restore() == ""
    assert LOCK.read_bytes() == kept.read_bytes() == lock(NAMES[:3])
    require_whole()
    LOCK.write_bytes(lock(NAMES[:2]))
    assert "ends after 2 of 3 stages" in keep_or_restore()


def test_an_empty_file_is_never_meant() -> None:
    """Git knows the empty file of any project."""
    committed(lock())
    keep_or_restore()
    Path("empty").touch()
    git("add", "empty")
    LOCK.write_bytes(b"")
    assert "it is empty" in keep_or_restore()
    assert LOCK.read_bytes() == lock()


def test_without_a_copy_the_last_commit_counts() -> None:
    committed(lock())
    LOCK.write_bytes(lock()[:200])
    assert "replaced by that of the last commit" in keep_or_restore()
    assert LOCK.read_bytes() == lock()


def test_without_any_whole_one_it_is_taken_away(kept: Path) -> None:
    LOCK.write_bytes(lock()[:200])
    assert "so it was taken away" in keep_or_restore()
    assert not LOCK.exists()
    assert kept.with_name("dvc.lock.damaged").read_bytes() == lock()[:200]


def test_stages_that_somebody_removed_twice_stay_removed(kept: Path) -> None:
    LOCK.write_bytes(lock())
    keep_or_restore()
    LOCK.write_bytes(lock(NAMES[:4]))
    assert keep_or_restore()
    LOCK.write_bytes(lock(NAMES[:4]))
    assert keep_or_restore() == ""
    assert LOCK.read_bytes() == kept.read_bytes() == lock(NAMES[:4])


def test_a_lock_that_was_deleted_is_not_brought_back(kept: Path) -> None:
    LOCK.write_bytes(lock())
    keep_or_restore()
    LOCK.unlink()
    assert keep_or_restore() == ""
    LOCK.write_bytes(lock(NAMES[:1]))
    assert keep_or_restore() == ""
    assert LOCK.read_bytes() == lock(NAMES[:1])
    assert kept.with_name("dvc.lock.earlier").read_bytes() == lock()


def test_a_merge_is_left_to_the_user(capsys: pytest.CaptureFixture[str]) -> None:
    LOCK.write_bytes(lock())
    keep_or_restore()
    conflict = lock().replace(b"  report:", b"<<<<<<< HEAD\n  report:\n=======\n>>>>>>> other\n")
    LOCK.write_bytes(conflict)
    for function in (keep_or_restore, locked_stages, require_whole):
        with pytest.raises(DamagedLock, match="Resolve the conflict"):
            function()
    assert main() == 1
    assert "marks of a merge conflict" in capsys.readouterr().err
    assert LOCK.read_bytes() == conflict


def test_a_lock_that_dvc_is_writing_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dvc_lock, "_PATIENCE", 0.05)
    LOCK.write_bytes(lock())
    keep_or_restore()
    LOCK.write_bytes(lock()[:300])
    with open(".dvc/tmp/lock", "w") as dvc:
        fcntl.flock(dvc, fcntl.LOCK_EX)
        assert keep_or_restore() == ""
        assert LOCK.read_bytes() == lock()[:300]
    assert keep_or_restore()
    assert LOCK.read_bytes() == lock()


@pytest.mark.parametrize("when", ["kept", "restored"])
def test_a_full_disk(when: str, kept: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    LOCK.write_bytes(lock())
    keep_or_restore()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(dvc_lock, "write_whole", full)
    if when == "kept":
        LOCK.write_bytes(lock(report=2))
        with caplog.at_level(logging.WARNING):
            assert keep_or_restore() == ""
        assert "No copy of dvc.lock can be kept" in caplog.text
    else:
        LOCK.write_bytes(lock()[:300])
        with pytest.raises(DamagedLock, match="No space left on device. Make room on the disk, then run"):
            keep_or_restore()
        assert LOCK.read_bytes() == lock()[:300]
    assert kept.read_bytes() == lock()


def test_each_project_of_a_repository_has_its_own_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where they share a cache and a work folder."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        LOCK.write_bytes(lock((name,)))
        keep_or_restore()
    for name in ("one", "two"):
        monkeypatch.chdir(tmp_path / name)
        LOCK.write_bytes(b"")
        assert keep_or_restore()
        assert LOCK.read_bytes() == lock((name,))


@pytest.mark.parametrize("outside", [True, False])
def test_outside_dvc_and_without_git(outside: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    if outside:
        (tmp_path / ".dvc" / "tmp").rmdir()
        (tmp_path / ".dvc").rmdir()
        LOCK.write_bytes(b"")
        assert keep_or_restore() == ""
        return
    LOCK.write_bytes(lock())
    keep_or_restore()
    LOCK.write_bytes(lock(NAMES[:2]))
    assert keep_or_restore()
    assert LOCK.read_bytes() == lock()


def test_a_reader_waits_while_dvc_writes() -> None:
    LOCK.write_bytes(lock()[:300])
    place = LOCK.absolute()  # the working directory is another one if the timer outlives the test
    with open(".dvc/tmp/lock", "w") as dvc:
        fcntl.flock(dvc, fcntl.LOCK_EX)

        def finish() -> None:
            place.write_bytes(lock())
            fcntl.flock(dvc, fcntl.LOCK_UN)

        writer = threading.Timer(0.3, finish)
        writer.start()
        try:
            assert list(locked_stages()) == list(NAMES)
        finally:
            writer.join()
    require_whole()


@pytest.mark.parametrize("content", [b"", b'{"write": {"data/x": {"pid": 1, "c', b"\0" * 40, b"[]", b"[" * 100_000])
def test_a_cut_list_of_paths_in_use_is_removed(content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    """DVC stops at it, and says only that it is corrupted."""
    path = Path(".dvc/tmp/rwlock")
    path.write_bytes(content)
    assert main() == 0
    assert "rwlock was cut short" in capsys.readouterr().out
    assert not path.exists()


def test_a_list_of_paths_in_use_that_is_whole_or_being_written_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(".dvc/tmp/rwlock")
    assert dvc_lock.discard_cut_paths() == ""
    path.write_text('{"write": {}, "read": {}}')
    assert dvc_lock.discard_cut_paths() == ""
    monkeypatch.setattr(dvc_lock, "_PATIENCE", 0.1)
    path.write_text('{"wri')
    with open(".dvc/tmp/rwlock.lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert dvc_lock.discard_cut_paths() == ""
    assert path.read_text() == '{"wri'
