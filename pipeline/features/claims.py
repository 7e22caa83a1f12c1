"""Which of several processes does a piece of work: a file that is locked for as long as it takes.

Locks are advisory, so that what is written under a claim is still written aside and renamed: where a file system keeps
no locks between its nodes, work is done twice, and nothing is damaged.
"""

import fcntl
import os
from pathlib import Path

from pipeline.plain_files import open_plain

SUFFIX = ".lock"


class Claim:
    """The right to do one piece of work, for example to write one shard; use `take`.

    It ends with `release`, with the block of a `with`, or with the process, however that ends. A killed process leaves
    an empty file behind that holds nobody up.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path, self._descriptor = path, descriptor

    @classmethod
    def take(cls, folder: Path, name: str, *, wait: bool = False) -> "Claim | None":
        """Claim the work `name` among those who share `folder`; None if another one has it, unless told to wait.

        Raises:
            WorkFolderError: the file of the claim is a link.
        """
        path = folder / f"{name}{SUFFIX}"
        while True:
            descriptor = open_plain(path, os.O_RDWR | os.O_CREAT)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                os.close(descriptor)
                return None
            except BaseException:
                os.close(descriptor)
                raise
            if _named(path, descriptor):
                return cls(path, descriptor)
            os.close(descriptor)  # who had it has removed the file meanwhile: another one may hold a new file

    def release(self) -> None:
        """Let others have it; nothing happens the second time."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            try:
                self._path.unlink(missing_ok=True)
            finally:
                os.close(descriptor)

    def __enter__(self) -> "Claim":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _named(path: Path, descriptor: int) -> bool:
    """Whether the open file still has this name."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return False
    mine = os.fstat(descriptor)
    return (found.st_dev, found.st_ino) == (mine.st_dev, mine.st_ino)
