"""Rows that were encoded before under the same fingerprint, in any store.

A feature depends only on its fingerprint and its sample, so a new shard (grown, reordered, of another data set) reuses
rows of finished shards; only the rest goes through the backbone.
"""

from collections.abc import Sequence, Set
from pathlib import Path

import numpy as np

from pipeline.encoding.assembly import ShardRows
from pipeline.features import ArraySpec
from pipeline.features.shards import RECORD, ScratchShard


class RowCache:
    """Index of the rows in one scratch folder that are wanted.

    Args:
        wanted: ids of rows that are to be written.
    """

    def __init__(self, scratch: Path, specs: Sequence[ArraySpec], wanted: Set[str]) -> None:
        self._specs, self._wanted = list(specs), wanted
        self._shards: list[ScratchShard] = []
        self._where: dict[str, tuple[int, int]] = {}
        for record in sorted(scratch.glob(f"*/{RECORD}")):
            shard = ScratchShard.find(record.parent)
            if shard is not None:
                self._add(shard)

    def _add(self, shard: ScratchShard) -> None:
        number = len(self._shards)
        self._shards.append(shard)
        for row, (identifier, reason) in enumerate(zip(*shard.rows(), strict=True)):
            if reason is None and identifier in self._wanted:
                self._where.setdefault(identifier, (number, row))

    def known(self, ids: Sequence[str]) -> np.ndarray:
        """(n,) bool: which ids have a row here."""
        return np.fromiter((identifier in self._where for identifier in ids), dtype=bool, count=len(ids))

    def take(self, ids: Sequence[str]) -> dict[str, np.ndarray] | None:
        """Rows (n, *row_shape) of known ids per stored array, or None if a shard has another layout."""
        numbers = np.array([self._where[identifier][0] for identifier in ids], dtype=np.int64)
        rows = np.array([self._where[identifier][1] for identifier in ids], dtype=np.int64)
        out = ShardRows(self._specs, len(ids))
        for number in np.unique(numbers):
            chosen = np.flatnonzero(numbers == number)
            arrays = {}
            for spec in self._specs:
                values = self._shards[int(number)].take(spec, rows[chosen])
                if values is None:
                    return None
                arrays[spec.name] = values
            out.put(chosen, arrays)
        return out.arrays()
