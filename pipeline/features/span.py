"""Several arrays of rows seen as one: positions run on from one array to the next."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from pipeline.errors import StoreError
from pipeline.features.identity import row_positions, row_range
from pipeline.features.memory import output


class Rows(Protocol):
    """Anything that serves rows by position, as `FeatureArray` does."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, *row_shape)."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the rows served."""

    def take(self, rows: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """The given rows (n, *row_shape), in any order; written into `out` where it is given."""

    def read_range(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
        """Rows `start` to `stop` - 1, in order; written into `out` where it is given."""


def row_bytes(rows: Rows) -> int:
    """Size of one row in bytes."""
    return int(np.prod(rows.shape[1:], dtype=np.int64)) * rows.dtype.itemsize


class Span:
    """Arrays of one row shape and dtype, one after another: row i of part p is at `offsets[p] + i`.

    Raises:
        StoreError: they differ in row shape or dtype.
    """

    def __init__(self, parts: Sequence[Rows]) -> None:
        first, *others = parts
        for part in others:
            if (part.shape[1:], part.dtype) != (first.shape[1:], first.dtype):
                raise StoreError(
                    f"Arrays of one view differ: rows of shape {first.shape[1:]} in {first.dtype}, and of shape "
                    f"{part.shape[1:]} in {part.dtype}. Encode them again with: dvc repro"
                )
        self._parts = list(parts)
        self.offsets: np.ndarray = np.cumsum([0, *(part.shape[0] for part in parts)])
        self.shape: tuple[int, ...] = (int(self.offsets[-1]), *first.shape[1:])
        self.dtype: np.dtype[Any] = first.dtype

    def take(self, rows: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """The given rows (n, *row_shape), in any order, repeats allowed; written into `out` where it is given.

        Raises:
            StoreError: a position is not an integer, below 0 or past the end.
        """
        rows = row_positions(rows, self.shape[0], "A view of several arrays")
        out = output(out, (len(rows), *self.shape[1:]), self.dtype)
        numbers = np.searchsorted(self.offsets, rows, side="right") - 1
        for number in np.unique(numbers):
            part, chosen = self._parts[number], np.flatnonzero(numbers == number)
            inside = rows[chosen] - self.offsets[number]
            if chosen[-1] - chosen[0] + 1 == len(chosen):  # the usual case, sorted rows: no second copy
                part.take(inside, out=out[chosen[0] : chosen[-1] + 1])
            else:
                out[chosen] = part.take(inside)
        return out

    def read_range(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
        """Rows `start` to `stop` - 1, in order; written into `out` where it is given.

        Raises:
            StoreError: the range reaches outside.
        """
        start, stop = row_range(start, stop, self.shape[0], "A view of several arrays")
        out = output(out, (stop - start, *self.shape[1:]), self.dtype)
        for part, offset in zip(self._parts, self.offsets[:-1].tolist(), strict=True):
            low, high = max(start, offset), min(stop, offset + part.shape[0])
            if low < high:
                part.read_range(low - offset, high - offset, out=out[low - start : high - start])
        return out
