"""An `EncodeJob` whose features are known, and which leaves word of what its workers do."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.encoding.modalities import EncodeJob
from pipeline.encoding.plan import Plan
from pipeline.encoding.protocol import Batch, RowEncoder
from pipeline.features import ArraySpec, Fingerprint

FINGERPRINT = Fingerprint({"weights": "toy"})


@dataclass(frozen=True)
class ToyJob(EncodeJob):
    """Every id is a number, and its features are made of it.

    Attributes:
        rows: how many ids.
        notes: a folder in which a worker notes its number when it begins a shard.
        pause: seconds for each batch of two rows.
        together: how many workers begin before any of them goes on: one that starts late would find nothing to do.
        deadly: an id at which the process dies.
        broken: ids that cannot be encoded.
    """

    rows: int = 64
    notes: Path = Path()
    pause: float = 0.0
    together: int = 1
    deadly: str = ""
    broken: tuple[str, ...] = ()

    def fingerprint(self) -> Fingerprint:
        """The same for all of them."""
        return FINGERPRINT

    def plan_and_loader(self) -> tuple[Plan, Callable[[], RowEncoder]]:
        """Needs no index."""
        ids = tuple(map(str, range(self.rows)))
        return Plan(ids, self.settings.encode.shard_rows), lambda: ToyRows(self)


class ToyRows:
    """See `RowEncoder`."""

    def __init__(self, job: ToyJob) -> None:
        self._job = job
        self.specs: tuple[ArraySpec, ...] = (ArraySpec("cls", (1, 4), "float16"),)
        self.notes: dict[str, object] = {"patch_grid": [1, 1]}

    def encode(self, ids: Sequence[str]) -> Iterator[Batch]:
        """Two at a time."""
        (self._job.notes / f"{ids[0]}.{os.getpid()}").touch()
        until = time.monotonic() + 100
        while len({note.suffix for note in self._job.notes.iterdir()}) < self._job.together:
            if time.monotonic() > until:
                raise RuntimeError("the other workers did not begin")
            time.sleep(0.05)
        for start in range(0, len(ids), 2):
            positions = list(range(start, min(start + 2, len(ids))))
            chosen = [ids[position] for position in positions]
            if self._job.deadly in chosen:
                os._exit(1)
            time.sleep(self._job.pause)
            values = np.array([float(identifier) for identifier in chosen], np.float32)
            cls = np.sin(values[:, None, None] + np.arange(4, dtype=np.float32))
            yield Batch(positions, {"cls": cls}, ["broken" if i in self._job.broken else None for i in chosen])
