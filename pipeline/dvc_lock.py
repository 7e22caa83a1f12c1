"""dvc.lock, which DVC writes anew in place after every stage: a kill or a full disk meanwhile leaves it cut short.

So a copy of the last whole one is kept in the project's own `.dvc`, and put back in its place where it is cut. The
rules, and what tells a cut lock from an older one that Git brought back, are in docs/store.md.

    python -m pipeline.dvc_lock        # before `dvc repro`: puts the copy back, or takes a new one
"""

import fcntl
import json
import logging
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import DamagedLock
from pipeline.failures import exit_code
from pipeline.plain_files import write_whole
from pipeline.work_folder import repository

log = logging.getLogger(__name__)
LOCK = Path("dvc.lock")
RESTORE = "python -m pipeline.dvc_lock"
_KEPT = Path("permafrost") / "locks"  # below .dvc, which no other clone or project shares, unlike cache and work folder
_CONFLICT = re.compile(rb"^(<{7}|={7}|>{7})( |$)", re.MULTILINE)
_STAGE = re.compile(r"^  (\S.*):[ \t]*$", re.MULTILINE)
_PATIENCE = 5.0  # seconds for which another DVC is waited for
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where PyYAML was built with it


def locked_stages() -> dict[str, Any]:
    """The stages of dvc.lock in the working directory; none without one.

    Raises:
        DamagedLock: it is cut short, not valid, or in the middle of a merge.
    """
    content, root = _content(LOCK), repository()
    if content is None:
        return {}
    stages, why = _parsed(content)
    if root is not None and (why or not content.endswith(b"\n")):
        with _alone(root):  # another DVC may have been writing it
            content = _content(LOCK) or b""
        stages, why = _parsed(content)
    if why:
        raise DamagedLock(
            f"{LOCK.absolute()} cannot be used: {why}. "
            + (
                "Resolve the conflict and run the command again."
                if _CONFLICT.search(content)
                else f"Put the last whole one in its place with: {RESTORE}"
            )
        )
    return stages


def require_whole() -> None:
    """Check that dvc.lock has every stage that it had, for a command that deletes what it does not name.

    Raises:
        DamagedLock: it is cut short, even where that can still be read.
    """
    locked_stages()
    root, content = repository(), _content(LOCK)
    if content is None or root is None or not _damage(content, _place(root)):
        return
    with _alone(root):  # another DVC may have been writing it
        content = _content(LOCK) or b""
    if why := _damage(content, _place(root)):
        raise DamagedLock(
            f"{LOCK.absolute()} cannot be used: {why}. Put the last whole one in its place with: {RESTORE}"
        )


def keep_or_restore() -> str:
    """Keep a copy of a whole dvc.lock; put the last copy in the place of one that is cut short.

    Nothing happens outside a DVC repository, where the copy is as it should be, and while another DVC is at work, which
    may be writing the lock. Where somebody deleted it, the copy is set aside too: nothing shall bring it back.

    Returns:
        what was put in its place and why, for the user; empty if it was left as it is.

    Raises:
        DamagedLock: it holds marks of a merge, which are the user's to resolve.
    """
    root = repository()
    if root is None:
        return ""
    place, content = _place(root), _content(LOCK)
    if content is None:
        with suppress(OSError):
            os.replace(place, place.with_name(f"{LOCK}.earlier"))
        return ""
    if content == _content(place):
        return ""
    if not _damage(content, place):
        _keep(content, place)
        return ""
    with _alone(root) as alone:
        content = _content(LOCK)
        if content is None or not alone:
            return ""
        why = _damage(content, place)
        if not why:
            _keep(content, place)
            return ""
        if _CONFLICT.search(content):
            raise DamagedLock(f"{LOCK.absolute()} cannot be used: {why}. Resolve the conflict, and run this again.")
        try:
            return _restore(content, why, place)
        except OSError as error:
            raise DamagedLock(
                f"{LOCK.absolute()} was cut short ({why}), and the last whole one, {place}, cannot take its place: "
                f"{error.strerror or error}. Make room on the disk, then run: {RESTORE}"
            ) from error


def _restore(content: bytes, why: str, place: Path) -> str:
    whole, whence = _content(place), "the last whole one"
    if whole is None or _parsed(whole)[1]:
        whole, whence = _git("show", f"HEAD:./{LOCK}"), "that of the last commit"
    damaged = _damaged(place)
    damaged.parent.mkdir(parents=True, exist_ok=True)
    write_whole(damaged, content)
    if whole is None or _parsed(whole)[1]:
        LOCK.unlink()
        done = "There is no whole one to put in its place, so it was taken away"
    else:
        write_whole(LOCK, whole)
        done = f"It was replaced by {whence}"
    return (
        f"{LOCK} was cut short, as when DVC is killed or the disk is full while it writes it: {why}. {done}; the cut "
        f"one is {damaged}. What ran since comes from DVC's run cache, without running again."
    )


def _damage(content: bytes, place: Path) -> str:
    """Why `content` is not a whole lock; empty if it is."""
    stages, why = _parsed(content)
    if why:
        return why
    if not content.endswith(b"\n"):
        return "" if _known_to_git() else "its last line has no end"
    doubt = _doubt(content, stages, _content(place) or b"")
    if doubt and (content == _content(_damaged(place)) or _known_to_git()):
        return ""  # it came again after it was replaced, or somebody committed it: it is meant
    return doubt


def _parsed(content: bytes) -> tuple[dict[str, Any], str]:
    """The stages of a lock, and what is wrong with it, empty if nothing is."""
    if _CONFLICT.search(content):
        return {}, "Git left the marks of a merge conflict in it"
    try:
        found = yaml.load(content.decode("utf-8"), _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a UnicodeDecodeError is a ValueError
        return {}, f"it is not YAML ({' '.join(str(error).split())[:200]})"
    stages = found.get("stages") if isinstance(found, dict) else None
    if found is None:
        return {}, "it is empty"
    if not isinstance(stages, dict) or "schema" not in found:
        return {}, "it has no stages"
    partial = next((name for name, entry in stages.items() if not _whole(entry)), None)
    return stages, "" if partial is None else f"its entry of {partial} is not whole"


def _whole(entry: Any) -> bool:
    """Whether an entry has its command, and where it has dependencies and outputs, a path for each."""
    if not isinstance(entry, dict) or "cmd" not in entry:
        return False
    listed = [entry[kind] for kind in ("deps", "outs") if kind in entry]
    return all(
        isinstance(items, list) and items and all(isinstance(item, dict) and "path" in item for item in items)
        for items in listed
    )


def _doubt(content: bytes, stages: dict[str, Any], earlier: bytes) -> str:
    """Why a lock that can be read seems to be the beginning of a longer one; empty if it does not."""
    had = _STAGE.findall(earlier.decode("utf-8", "replace"))
    names = _STAGE.findall(content.decode("utf-8"))
    if len(names) < len(had) and names == had[: len(names)]:
        return f"it ends after {len(names)} of {len(had)} stages"
    if not stages:
        return ""
    name, last = next(reversed(stages.items()))
    if "outs" in last and not last["outs"][-1].keys() <= {"path", "hash"}:
        return ""
    if "outs" in last or _parsed(earlier)[0].get(name, {}).get("outs"):
        return f"its last entry, {name}, is not whole"
    return ""


def _keep(content: bytes, place: Path) -> None:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        write_whole(place, content)
    except OSError as error:  # on a full disk the earlier copy stays
        log.warning("No copy of %s can be kept in %s (%s).", LOCK, place, error.strerror or error)


def _place(root: Path) -> Path:
    """Where the copy of the lock in the working directory is kept, in the DVC repository `root`."""
    return root / ".dvc" / _KEPT / Path.cwd().relative_to(root) / LOCK


def _damaged(place: Path) -> Path:
    """Where the last lock that was replaced is kept."""
    return place.with_name(f"{place.name}.damaged")


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _known_to_git() -> bool:
    """Whether the lock as it is now was ever committed or staged, so that a checkout may have brought it."""
    name = _git("hash-object", "--", str(LOCK))
    return name is not None and _git("cat-file", "-e", name.decode("ascii").strip()) is not None


def _git(*arguments: str) -> bytes | None:
    """What Git prints; None if it fails or is not there."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, check=False)
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None


def discard_cut_paths() -> str:
    """Remove DVC's list of paths in use, `.dvc/tmp/rwlock`, where it is cut: DVC writes it in place, and cannot go on.

    It names running processes alone, so nothing is lost with one that a kill or a full disk cut.

    Returns:
        what was done, for the user; empty if the list was left as it is.
    """
    root = repository()
    path = None if root is None else root / ".dvc" / "tmp" / "rwlock"
    if root is None or path is None or not _cut(path):
        return ""
    with _alone(root, "rwlock.lock") as alone:
        if not alone or not _cut(path):  # another DVC was writing it
            return ""
        path.unlink(missing_ok=True)
    return f"{path} was cut short, as when DVC is killed while it writes it; it was removed."


def _cut(path: Path) -> bool:
    try:
        return not isinstance(json.loads(path.read_bytes()), dict)
    except OSError:
        return False
    except (ValueError, RecursionError):
        return True


@contextmanager
def _alone(root: Path, name: str = "lock") -> Iterator[bool]:
    """Hold DVC's own lock, without which it does not write dvc.lock; gives False if another DVC keeps it."""
    path = root / ".dvc" / "tmp" / name
    if not path.parent.is_dir():  # no DVC ever ran here
        yield True
        return
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)) as file:
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    yield False
                    return
                time.sleep(0.1)
        yield True


def main() -> int:
    """Put the copy back where the lock is cut; returns the exit code."""
    return exit_code(RESTORE, _main)


def _main() -> int:
    for done in (discard_cut_paths(), keep_or_restore()):
        if done:
            print(done)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
