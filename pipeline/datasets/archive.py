"""The tar of an index: encoded pictures or sounds that are in no file of their own, each once."""

import os
import tarfile
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import DataError

_HEADER = tarfile.BLOCKSIZE  # bytes before a member's data; names stay far below the 100 characters it holds
_REMEMBERED = 1 << 18  # ids kept in memory; a member that recurs after more than these is stored again


class Archive:
    """Grows beside the index, and is there when it is finished.

    Args:
        path: of the tar; until it is finished, `*.partial` beside it.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._partial = path, path.with_name(path.name + ".partial")
        self._archive: BinaryIO | None = None
        self._known: set[str] = set()
        self._bytes = 0

    def holds(self, identity: str) -> bool:
        """Whether it is known to hold a member; of those that came long ago it forgets."""
        return identity in self._known

    def add(self, identity: str, content: bytes, form: str) -> int:
        """Store a member and return the place of its first byte; the same members give the same bytes."""
        if self._archive is None:
            self._archive = open(self._partial, "wb")  # noqa: SIM115 (closed by `finish` or `discard`)
        start = self._archive.tell()
        member = tarfile.TarInfo(f"{identity}.{form}")  # mtime, uid and gid are 0 by default
        member.size = len(content)
        # TarFile.addfile writes the same, and copies the member and the content first
        self._archive.write(member.tobuf(tarfile.USTAR_FORMAT))
        self._archive.write(content)
        self._archive.write(bytes(-len(content) % tarfile.BLOCKSIZE))
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known.add(identity)
        self._bytes = start + _HEADER + len(content)
        return start + _HEADER

    def finish(self) -> None:
        """Put it in its place; one without members is not there.

        Raises:
            DataError: it is smaller than its offsets imply.
        """
        if self._archive is None:
            self._path.unlink(missing_ok=True)
            return
        self._archive.write(bytes(2 * tarfile.BLOCKSIZE))  # the end of a tar, which is filled up to whole records
        self._archive.write(bytes(-self._archive.tell() % tarfile.RECORDSIZE))
        self._archive.close()
        self._archive = None
        if self._partial.stat().st_size < self._bytes:
            raise DataError(f"{self._partial} is shorter than its index implies. Is the disk full?")
        os.replace(self._partial, self._path)

    def discard(self) -> None:
        """Remove what is unfinished."""
        if self._archive is not None:
            self._archive.close()
        self._partial.unlink(missing_ok=True)
