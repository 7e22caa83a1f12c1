"""Finished shards live here, beside DVC's cache and outside every declared output.

DVC deletes outputs before a stage runs and after one was killed, and queued experiments run in folders of their own.
The scratch folder is on the cache's file system and is found from the cache's path, so all of them see the same
finished shards and can hard-link them.
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

log = logging.getLogger(__name__)


def cache_folder() -> Path | None:
    """DVC's cache folder for the repository of the working directory, or None outside a DVC repository."""
    from dvc.config import Config
    from dvc.repo import NotDvcRepoError, Repo

    try:
        root = Path(Repo.find_root())
    except NotDvcRepoError:
        return None
    configured = Config(str(root / ".dvc")).get("cache", {}).get("dir")
    return Path(configured) if configured else root / ".dvc" / "cache"


def work_folder() -> Path:
    """The folder for scratch and downloads: $PERMAFROST_WORK, else beside DVC's cache, else in the user's cache."""
    named = os.environ.get(WORK_VARIABLE)
    if named:
        return Path(named).resolve()
    cache = cache_folder()
    if cache is not None:
        return cache.parent / "permafrost"
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "permafrost"


def scratch_folder(fingerprint_digest: str) -> Path:
    """Where shards of this fingerprint are kept."""
    return work_folder() / "scratch" / fingerprint_digest[:32]


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold the right to write shards into `folder`; released when the process ends, however it ends.

    Raises:
        StoreError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise StoreError(
                f"Another encode (process {holder}) is writing these features in {folder}. "
                "Wait for it to end; its shards will be reused."
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


@contextmanager
def full_disk_is_said() -> Iterator[None]:
    """Say what to do where a file system is full or a quota is used up.

    Raises:
        StoreError: in place of the operating system's error.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise StoreError(
            f"No space is left on the disk ({error}). Finished shards are kept in {work_folder() / 'scratch'}. "
            "Free some space, for example with `python -m pipeline.store gc --yes`, and run the same command again: "
            "it goes on from them."
        ) from error


@cache
def _warn_of_copies(source: Path, target: Path) -> None:
    log.warning(
        "%s and %s are on different file systems or theirs has no hard links, so shards are stored twice. "
        "Name a folder on the file system of the project with %s=FOLDER.",
        source,
        target,
        WORK_VARIABLE,
    )


def link(source: Path, target: Path) -> None:
    """Give `source` the second name `target`; copies, and warns once, where the file system cannot link."""
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
