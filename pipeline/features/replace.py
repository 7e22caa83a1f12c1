"""Puts a finished folder in the place of another in one step, so that a reader finds the old one or the new one."""

import ctypes
import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path

_CURRENT_FOLDER, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux


def replace_folder(new: Path, target: Path) -> None:
    """Give `new` the name `target`, and remove what had it.

    Where the system cannot exchange two names (renameat2 of Linux), there is no `target` for a moment.

    Raises:
        OSError: a folder cannot be renamed.
    """
    if not os.path.lexists(target):
        os.replace(new, target)
        return
    old = new
    if not _exchanged(new, target):
        old = target.with_name(f".{target.name}.replaced")
        remove(old)
        os.replace(target, old)
        os.replace(new, target)
    remove(old)


def _exchanged(first: Path, second: Path) -> bool:
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if sys.platform == "linux" else None
    names = _CURRENT_FOLDER, os.fsencode(first), _CURRENT_FOLDER, os.fsencode(second)
    return rename is not None and rename(*names, _EXCHANGE) == 0


def remove(path: Path) -> None:
    """Remove a folder with all it holds, a file, or a link but not what it leads to; errors of folders are ignored."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def aside(shard: Path) -> Path:
    """Where a shard is written: a folder of this shard alone, since scratch may hold very many."""
    return shard.with_name(f"{shard.name}.partial")


def forget_aside(shard: Path) -> None:
    """Remove the folder in which a shard was written, which a run leaves that is killed as it ends; not one in use."""
    with suppress(OSError):
        aside(shard).rmdir()
