"""The vectors of a pool of many stores under one numbering, read in blocks and never held as a whole."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from pipeline.errors import DataError
from pipeline.features.array import FeatureArray
from pipeline.features.memory import aligned_empty
from pipeline.features.span import Rows


class Block(NamedTuple):
    """Rows `start` to `stop` - 1 of part `part`: what is read together."""

    part: int
    start: int
    stop: int


class PoolVectors:
    """Rows of several stores, in the order of the stores' names whatever order they are given in.

    Row i of the j-th store by name has position `offsets[j] + i`, so neither the order of stores nor the order in which
    they are read changes a position.

    Args:
        arrays: by name, rows (N, D), or (N, L, D) of which the last layer counts.
        rows: by name, which rows of an array (n,) int64 belong to the pool, all where a name is missing.

    Attributes:
        names: of the stores, sorted.
        offsets: (stores + 1,) int64.
        width: D.

    Raises:
        DataError: there is no store, or they differ in width.
    """

    def __init__(self, arrays: Mapping[str, Rows], rows: Mapping[str, np.ndarray] | None = None) -> None:
        self.names = tuple(sorted(arrays))
        if not self.names:
            raise DataError("A pool needs at least one store of features to choose from.")
        self._arrays = [arrays[name] for name in self.names]
        self._rows = [None if rows is None else rows.get(name) for name in self.names]
        widths = {array.shape[-1] for array in self._arrays}
        if len(widths) > 1:
            found = ", ".join(f"{name} {arrays[name].shape[-1]}" for name in self.names)
            raise DataError(f"The stores of a pool should hold vectors of one width, found {found}.")
        self.width = int(widths.pop())
        counts = [a.shape[0] if r is None else len(r) for a, r in zip(self._arrays, self._rows, strict=True)]
        self.offsets: np.ndarray = np.cumsum([0, *counts])

    def __len__(self) -> int:
        return int(self.offsets[-1])

    def mapped(self) -> tuple[list[np.ndarray], np.ndarray | None]:
        """The whole arrays (n, D), part by part as mapped memory, and the row among all of them of each position.

        The latter, (N,) int64, is None where they are the same.

        Raises:
            StoreError: an array is compressed.
        """
        parts: list[np.ndarray] = []
        rows: list[np.ndarray] = []
        first = 0
        for array, chosen in zip(self._arrays, self._rows, strict=True):
            of_array = array.views() if isinstance(array, FeatureArray) else [np.asarray(array)]
            parts += [part if part.ndim == 2 else part[:, -1] for part in of_array]
            rows.append(first + (np.arange(array.shape[0]) if chosen is None else chosen))
            first += array.shape[0]
        return parts, None if all(chosen is None for chosen in self._rows) else np.concatenate(rows)

    def blocks(self, size: int) -> list[Block]:
        """All rows as blocks of at most `size` rows, each of one store."""
        out = []
        for part, count in enumerate(np.diff(self.offsets).tolist()):
            out += [Block(part, start, min(start + size, count)) for start in range(0, count, size)]
        return out

    def read(self, block: Block, out: np.ndarray | None = None) -> np.ndarray:
        """The rows of a block (n, D) as stored; into the first of `out` (m, D) where it is given and fits."""
        array, rows = self._arrays[block.part], self._rows[block.part]
        count = block.stop - block.start
        target = None
        if out is not None and len(array.shape) == 2 and out.dtype == array.dtype and len(out) >= count:
            target = out[:count]
        if rows is None:
            found = array.read_range(block.start, block.stop, target)
        else:
            found = array.take(rows[block.start : block.stop], target)
        return found if found.ndim == 2 else np.ascontiguousarray(found[:, -1])

    def stream(self, blocks: Sequence[Block], *, fresh: bool = False) -> Iterator[tuple[int, np.ndarray]]:
        """Position of the first row and the rows of each block.

        Unless they are `fresh`, rows are overwritten two blocks later: meant for `features.ahead` with a depth of 1.
        """
        size = max((block.stop - block.start for block in blocks), default=0)
        buffers: dict[str, list[np.ndarray]] = {}
        for turn, block in enumerate(blocks):
            kind, into = self._arrays[block.part].dtype, None
            if not fresh:
                made = buffers.setdefault(kind.str, [])
                if len(made) < 2:
                    made += [aligned_empty((size, self.width), kind) for _ in range(2)]
                into = made[turn % 2]
            yield int(self.offsets[block.part]) + block.start, self.read(block, into)

    def take(self, positions: np.ndarray) -> np.ndarray:
        """Copy of the rows at some positions (n, D) float32, in any order."""
        out = np.empty((len(positions), self.width), np.float32)
        parts = np.searchsorted(self.offsets, positions, side="right") - 1
        present = np.unique(parts).tolist()
        for part in present:
            chosen = slice(None) if len(present) == 1 else np.flatnonzero(parts == part)
            inside = positions[chosen] - self.offsets[part]
            rows = self._rows[part]
            found = self._arrays[part].take(inside if rows is None else rows[inside])
            out[chosen] = _single(found if found.ndim == 2 else found[:, -1])
        return out

    def unit(self, positions: np.ndarray | slice) -> np.ndarray:
        """Copy of the rows at some positions (n, D) float32, at unit length."""
        if isinstance(positions, slice):
            positions = np.arange(*positions.indices(len(self)))
        rows = self.take(positions)
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        return rows


def _single(rows: np.ndarray) -> np.ndarray:
    """Rows in float32; by PyTorch from float16, which NumPy converts one by one."""
    if rows.dtype != np.float16:
        return rows
    wide: np.ndarray = torch.from_numpy(np.ascontiguousarray(rows)).float().numpy()
    return wide
