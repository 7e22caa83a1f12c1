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
def exclusive(folder: Path) -> Iterator[None]:
    """Hold the exclusive right to write shards into `folder`; released when the process ends, however it ends.

    Raises:
        StoreError: another process holds it.
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
    """Claim the exclusive right of `exclusive`; gives None, or the process that holds it, `unknown` if it left no word.

    Raises:
        WorkFolderError: its lock is a link.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with os.fdopen(open_plain(folder / "lock", os.O_RDWR | os.O_CREAT), "r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
