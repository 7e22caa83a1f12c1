"""Reading files that others have made: regular ones alone, up to a size, and never more than their size says."""

import errno
import os
import stat
from collections.abc import Callable
from io import BufferedReader
from pathlib import Path

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_OPEN = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file, or a link to one, for reading; a pipe would block, and a device might not end.

    Raises:
        OSError: it cannot be opened, or is not a regular file.
    """
    return open_checked(path, lambda found: _require_regular(path, found))


def open_checked(path: Path, check: Callable[[os.stat_result], None]) -> BufferedReader:
    """Open a file that passes `check`, which raises where it does not: looked at before and after it is opened.

    Raises:
        OSError: it cannot be opened; and whatever `check` raises.
    """
    check(path.stat())  # opening a device may already do something
    descriptor = os.open(path, _OPEN)
    try:
        check(os.fstat(descriptor))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: Path, most: int) -> bytes:
    """The bytes of a regular file, as many as its size says; files of the kernel say 0.

    Raises:
        OSError: as `open_regular`, or it has more than `most` bytes.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise OSError(errno.EFBIG, f"too large: {size:,} bytes, at most {most:,} are read", str(path))
        return file.read(size)


def is_folder(path: Path) -> bool:
    """Whether a folder is there; False for a name that no file system takes, which `Path.is_dir` raises for."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _require_regular(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = KINDS.get(stat.S_IFMT(found.st_mode), "something else")
        raise OSError(errno.EINVAL, f"{kind}, not a regular file", str(path))
