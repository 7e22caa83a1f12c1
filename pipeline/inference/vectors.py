"""Vectors as they lie in memory or in .npy files, several files as one array that is never put together."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from pipeline.errors import DataError
from pipeline.inference.scan import Block, Nearest, nearest

DTYPES = ("float32", "float16", "int8")
_BLOCK = 65536  # rows
_PIECE = 16 << 20  # bytes that are hashed at a time


class VectorRows:
    """The rows of one or more arrays (n, K) of the same dtype, float32, float16 or int8, one after the other.

    Rows need not have unit length: what counts is their direction, so codes of 8 bits need no scale.

    Args:
        parts: the arrays, perhaps mapped.
        files: those they are mapped from, if they are.
    """

    def __init__(self, parts: Sequence[np.ndarray], files: Sequence[Path] = ()) -> None:
        self.parts, self.files = list(parts), list(files)
        kinds = {(part.shape[1], part.dtype.name) for part in self.parts}
        if len(kinds) > 1:
            found = ", ".join(f"{width} x {dtype}" for width, dtype in sorted(kinds))
            raise DataError(f"Vectors of several files should be of one kind, found {found}: {self._where}")
        self._starts = np.cumsum([0, *(len(part) for part in self.parts)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def counts(self) -> list[int]:
        """Rows of each part."""
        return [len(part) for part in self.parts]

    @property
    def width(self) -> int:
        """K."""
        return int(self.parts[0].shape[1])

    @property
    def dtype(self) -> np.dtype[Any]:
        """As stored."""
        return self.parts[0].dtype

    @property
    def _where(self) -> str:
        return (
            f"{self.files[0]} and {len(self.files) - 1} more" if len(self.files) > 1 else "".join(map(str, self.files))
        )

    def whole(self) -> np.ndarray:
        """All rows as one array, copied where there are several parts."""
        return self.parts[0] if len(self.parts) == 1 else np.concatenate(self.parts)

    def blocks(self, size: int = _BLOCK) -> Iterator[Block]:
        """Positions and rows, in order."""
        for first, part in zip(self._starts.tolist(), self.parts, strict=False):
            for start in range(0, len(part), size):
                piece = part[start : start + size]
                yield np.arange(first + start, first + start + len(piece)), piece

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Copy of the rows at some positions (n, K), in any order."""
        if len(self.parts) == 1:
            return np.asarray(self.parts[0][rows])
        out = np.empty((len(rows), self.width), self.dtype)
        owner = np.searchsorted(self._starts, rows, side="right") - 1
        for number in np.unique(owner):
            chosen = owner == number
            out[chosen] = self.parts[number][rows[chosen] - self._starts[number]]
        return out

    def nearest(self, queries: np.ndarray, k: int, allowed: np.ndarray | None = None) -> Nearest:
        """Exact search by cosine, see `scan.nearest`."""
        blocks: Iterator[Block]
        if allowed is not None and 8 * (rows := np.flatnonzero(allowed)).size < len(self):  # the rest is not touched
            pieces = np.split(rows, range(_BLOCK, len(rows), _BLOCK))
            blocks = ((piece, self.take(piece)) for piece in pieces)
        else:
            blocks = self.blocks()
        return nearest(blocks, queries, k, allowed, self._lengths)

    @cached_property
    def _lengths(self) -> np.ndarray:
        return np.full(len(self), np.nan, dtype=np.float32)

    def digest(self) -> str:
        """XXH3-128, in hex, of shape, dtype and numbers; the same for the same rows in other files."""
        running = xxhash.xxh3_128(f"{len(self)} {self.width} {self.dtype.name}\0".encode())
        step = max(1, _PIECE // max(1, self.width * self.dtype.itemsize))
        for _, piece in self.blocks(step):
            running.update(np.ascontiguousarray(piece).reshape(-1).view(np.uint8).data)
        return running.hexdigest()


def quantised(vectors: np.ndarray) -> np.ndarray:
    """Codes of 8 bits (n, K) of vectors, whose largest number is 127; their direction is off by a few thousandths."""
    largest = np.maximum(np.abs(vectors).max(axis=1, keepdims=True), 1e-12)
    codes: np.ndarray = np.rint(vectors.astype(np.float32) * (127 / largest)).astype(np.int8)
    return codes
