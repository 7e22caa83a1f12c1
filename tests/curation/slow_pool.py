"""A pool whose blocks take their time, and which leaves word of who reads them."""

import os
import time
from pathlib import Path

import numpy as np

from pipeline.curation.vectors import Block, PoolVectors


class SlowPool(PoolVectors):
    """The same vectors.

    Args:
        notes: a folder in which a process notes `<part>-<first row>.<its number>` when it begins a block.
        pause: seconds for each block.
        together: how many processes begin before any of them goes on: one that starts late would find nothing to do.
    """

    def __init__(self, pool: PoolVectors, notes: Path, pause: float, together: int) -> None:
        vars(self).update(vars(pool))
        self._notes, self._pause, self._together = notes, pause, together

    def read(self, block: Block, out: np.ndarray | None = None) -> np.ndarray:
        """See `PoolVectors`."""
        (self._notes / f"{block.part}-{block.start}.{os.getpid()}").touch()
        until = time.monotonic() + 100
        while len({note.suffix for note in self._notes.iterdir()}) < self._together:
            if time.monotonic() > until:
                raise RuntimeError("the other processes did not begin")
            time.sleep(0.05)
        time.sleep(self._pause)
        return super().read(block, out)
