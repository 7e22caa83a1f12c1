"""The scratch folder keeps finished shards beside DVC's cache and outside every declared output.

DVC deletes outputs before a stage runs and after one is killed, and queued experiments run in their own folders. The
scratch folder is on the cache's file system and is found from the cache's path, so all of them see the same finished
shards and can hard-link them.
"""

import errno
import fcntl
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from pipeline.errors import StoreError
from pipeline.paths import WORK_VARIABLE
from pipeline.plain_files import open_plain
from pipeline.work_folder import work_folder

log = logging.getLogger(__name__)
_DIGITS = 20  # of the number of a process


def scratch_folder(fingerprint_digest: str) -> Path:
    """Where shards of this fingerprint are kept."""
    return work_folder() / "scratch" / fingerprint_digest[:32]


@contextmanager
def shared(folder: Path) -> Iterator[None]:
    """Take part in writing shards into `folder`: any number of processes may, while nobody removes what is there.

    Released when the process ends, however it ends. Which process writes which shard, a `Claim` says.

    Raises:
        StoreError: a process has the exclusive right.
        WorkFolderError: the lock is a link.
    """
    with _locked(folder, fcntl.LOCK_SH) as holder:
        if holder is not None:
            raise StoreError(
                f"Process {holder} checks or removes shards in {folder}. Wait for it to end and run the same "
                "command again."
            )
        yield


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold the exclusive right to remove shards in `folder`; released when the process ends, however it ends.

    Raises:
        StoreError: another process writes shards there, or holds the same right.
        WorkFolderError: its lock is a link.
    """
    with claimed(folder) as holder:
        if holder is not None:
            raise StoreError(
                f"Another encode (process {holder}) is writing these features in {folder}. "
                "Wait for it to end; its shards will be reused."
            )
        yield


@contextmanager
def claimed(folder: Path) -> Iterator[str | None]:
    """Claim the exclusive right of `exclusive`.

    Gives None, or the process that came last of those that keep it away, `unknown` if it left no word.

    Raises:
        WorkFolderError: its lock is a link.
    """
    with _locked(folder, fcntl.LOCK_EX) as holder:
        yield holder


@contextmanager
def _locked(folder: Path, operation: int) -> Iterator[str | None]:
    folder.mkdir(parents=True, exist_ok=True)
    with os.fdopen(open_plain(folder / "lock", os.O_RDWR | os.O_CREAT), "r+b") as file:
        try:
            fcntl.flock(file, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = file.read(_DIGITS).decode("ascii", "replace").strip()
            yield holder if holder.isdigit() else "unknown"
            return
        if os.fstat(file.fileno()).st_nlink == 1:  # under a second name it may be somebody's file
            file.truncate(0)
            file.write(str(os.getpid()).encode("ascii"))
            file.flush()
        yield None


@contextmanager
def explain_full_disk() -> Iterator[None]:
    """Turn "disk full" and "quota exceeded" into a message that tells what to do.

    Raises:
        StoreError: instead of the operating system's error.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise StoreError(
            f"No space is left on the disk ({error}). Finished shards are kept in {work_folder() / 'scratch'}. "
            "Free some space, for example with `python -m pipeline.store gc --yes`, and run the same command again: "
            "it continues from them."
        ) from error


@cache
def _warn_of_copies(source: Path, target: Path) -> None:
    log.warning(
        "%s and %s are on different file systems, or their file system has no hard links, so shards are stored twice. "
        "Set %s=FOLDER to a folder on the file system of the project.",
        source,
        target,
        WORK_VARIABLE,
    )


def link(source: Path, target: Path) -> None:
    """Give `source` the second name `target`; copies, and warns once, where the file system cannot hard-link."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except FileExistsError:
        target.unlink()
        link(source, target)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.ENOENT):
            raise
        _warn_of_copies(work_folder(), Path.cwd())
        partial = target.with_name(target.name + ".partial")
        shutil.copyfile(source, partial)
        os.replace(partial, target)
