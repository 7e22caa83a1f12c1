"""A shuffle for rows that are read nearly in order: blocks change places, then a window of blocks is mixed.

A full permutation reads every row from another place. Here consecutive rows stay together while they are read, and
are mixed with those of many other blocks before they are used, so that a store sorted by label gives mixed batches.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


def batch_sizes(rows: int, batch_size: int) -> list[int]:
    """Sizes of an epoch's batches: at most `batch_size`, equal to within 1, the larger first, `rows` in all."""
    batches = math.ceil(rows / batch_size)
    return [rows // batches + (batch < rows % batches) for batch in range(batches)]


@dataclass(frozen=True)
class BlockShuffle:
    """Every one of `rows` positions exactly once per epoch, in an order that (seed, epoch) fixes.

    Where one window holds all rows, the order is a full permutation.

    Attributes:
        rows: how many positions, from 0.
        block: consecutive rows that are read together.
        window: blocks that are mixed with each other.
    """

    rows: int
    block: int
    window: int

    def __post_init__(self) -> None:
        if self.rows < 0 or self.block < 1 or self.window < 1:
            raise ValueError(f"expected rows >= 0, block >= 1 and window >= 1, found {self}")

    @property
    def window_rows(self) -> int:
        """The most rows that a window holds."""
        return min(self.rows, self.block * self.window)

    def windows(self, seed: int, epoch: int, skip: int = 0) -> Iterator[np.ndarray]:
        """The positions of an epoch, window by window: int64, (n,) with n up to `window_rows`, in their mixed order.

        Args:
            skip: leave out that many positions at the beginning.
        """
        generator = np.random.default_rng([seed, epoch])
        # The blocks begin elsewhere in every epoch, or the rows on either side of a border would hardly ever meet.
        shift = int(generator.integers(self.block))
        blocks = generator.permutation(math.ceil((self.rows + shift) / self.block)) if self.rows else np.empty(0, int)
        for first in range(0, len(blocks), self.window):
            starts = blocks[first : first + self.window] * self.block - shift
            positions = (starts[:, None] + np.arange(self.block)).ravel()
            positions = positions[(positions >= 0) & (positions < self.rows)]
            positions = generator.permutation(positions) if positions.size else positions
            if positions.size > skip:
                yield positions[skip:]
            skip = max(0, skip - positions.size)

    def batches(self, batch_size: int, seed: int, epoch: int) -> Iterator[np.ndarray]:
        """The same positions in batches whose sizes are those of `batch_sizes`."""
        held = np.empty(0, dtype=np.int64)
        windows = self.windows(seed, epoch)
        for size in batch_sizes(self.rows, batch_size):
            while len(held) < size:
                held = np.concatenate([held, next(windows)])
            yield held[:size]
            held = held[size:]
