"""Files in a work folder that several people share: never written through a link that somebody put in their place."""

import errno
import logging
import os
import secrets
import stat
from pathlib import Path

from pipeline.errors import WorkFolderError

log = logging.getLogger(__name__)
_CAREFUL = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe must not be waited for
_NOT_PLAIN = (
    errno.ELOOP,
    errno.EMLINK,
    errno.ENXIO,
    errno.EISDIR,
    errno.ENOTDIR,
)  # of links (two systems), pipes, folders


def open_plain(path: Path, flags: int) -> int:
    """A descriptor of the plain file `path`, opened with `flags` (`os.O_CREAT` makes it) and not through a link.

    Folders above it may be links: they are the user's own choice of a disk.

    Raises:
        WorkFolderError: a link, a pipe or a folder has its name.
        OSError: it cannot be opened for another reason.
    """
    try:
        descriptor = os.open(path, flags | _CAREFUL, 0o666)
    except OSError as error:
        if error.errno in _NOT_PLAIN:
            raise _refused(path) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _refused(path)
    return descriptor


def append_line(path: Path, line: str) -> None:
    """Add a line to a journal; one that is no plain file of one name is left as it is, with a warning."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = open_plain(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    except WorkFolderError as error:
        log.warning("%s Nothing is noted there.", error)
        return
    with os.fdopen(descriptor, "ab") as file:
        if os.fstat(descriptor).st_nlink > 1:
            log.warning("%s has a second name, under which it may be another file. Nothing is noted there.", path)
            return
        file.write(line.encode("utf-8") + b"\n")


def write_whole(path: Path, content: bytes) -> None:
    """Write a small file, whole or not at all; a link of its name is replaced, not followed."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _CAREFUL, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _refused(path: Path) -> WorkFolderError:
    what = "a link" if path.is_symlink() else "no plain file"
    return WorkFolderError(
        f"{path} is {what}, and what it leads to must not be written to. Find out who put it there, and delete it."
    )
