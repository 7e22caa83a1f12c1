"""Which file was opened, and which rows are meant: a path may come to name another file, a mask is no position."""

import os
from collections.abc import Sequence
from operator import index
from pathlib import Path

import numpy as np

from pipeline.errors import StoreError

FileIdentity = tuple[int, ...]


def file_identity(path: Path) -> FileIdentity | None:
    """What tells a small file from another one that has taken its path; None where there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


def held_identity(status: os.stat_result) -> FileIdentity:
    """The same for a file that is mapped, whose inode is not given to another file as long as it is."""
    return status.st_dev, status.st_ino


def replaced(where: Path | str) -> StoreError:
    """The error for a store whose path names another one by now."""
    return StoreError(f"{where} was replaced after it was opened. Open the store again.")


def row_positions(rows: np.ndarray | Sequence[int], count: int, where: str) -> np.ndarray:
    """Positions (n,) int64 of rows among `count`.

    Raises:
        StoreError: they are not one list of whole numbers (a mask of booleans is none), or one of them is not a row.
    """
    given = np.asarray(rows)
    if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
        hint = "; for a mask write np.flatnonzero(mask)" if given.dtype.kind == "b" else ""
        raise StoreError(f"{where} takes positions of rows (n,) as integers, found {given.dtype} {given.shape}{hint}.")
    positions = given.astype(np.int64, copy=False)
    if positions.size and int(positions.view(np.uint64).max()) >= count:  # as unsigned, negative ones are the largest
        raise StoreError(f"{where} has rows 0 to {count - 1}, asked for {positions.min()} to {positions.max()}.")
    return positions


def row_range(start: int, stop: int, count: int, where: str) -> tuple[int, int]:
    """The ends of a range of rows among `count`, as whole numbers.

    Raises:
        StoreError: they are no whole numbers (booleans are none), or the range reaches outside.
    """
    try:
        if any(isinstance(end, (bool, np.bool_)) for end in (start, stop)):
            raise TypeError
        first, last = index(start), index(stop)
    except TypeError:
        raise StoreError(f"{where} takes two whole numbers as ends of a range, found {start!r} and {stop!r}.") from None
    if not 0 <= first <= last <= count:
        raise StoreError(f"{where} has rows 0 to {count}, asked for {first} to {last}.")
    return first, last
