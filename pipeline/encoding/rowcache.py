"""Rows that were encoded before under the same fingerprint, in any store.

A feature depends only on its fingerprint and its sample, so a new shard (grown, reordered, of another data set) reuses
rows of finished shards; only the rest goes through the backbone.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.encoding.assembly import ShardRows
from pipeline.features import ArraySpec
from pipeline.features.shards import RECORD, ScratchShard
from pipeline.ids import Ids
from pipeline.row_map import GrowingRowMap


class RowCache:
    """Index of all rows in one scratch folder."""

    def __init__(self, scratch: Path, specs: Sequence[ArraySpec]) -> None:
        self._specs = list(specs)
        self._shards: list[ScratchShard] = []
        self._map = GrowingRowMap()
        self._starts: list[int] = []  # of each shard, its first row in `_map`
        self._rows: list[np.ndarray] = []  # of each shard, which of its rows are there
        for record in sorted(scratch.glob(f"*/{RECORD}")):
            shard = ScratchShard.find(record.parent)
            if shard is not None:
                self.add(shard)

    def add(self, shard: ScratchShard) -> None:
        """Add the valid rows of a finished shard to the index."""
        table = shard.row_table()
        valid = np.flatnonzero(table.column("reason").is_null().to_numpy())
        self._shards.append(shard)
        self._starts.append(len(self._map))
        self._rows.append(valid.astype(np.uint32))
        self._map.add(Ids.of(table.column("id"))[valid])

    def known(self, ids: Sequence[str]) -> np.ndarray:
        """(n,) bool: which ids have a row here."""
        return self._map.find(ids) >= 0

    def take(self, ids: Sequence[str]) -> dict[str, np.ndarray] | None:
        """Rows (n, *row_shape) of known ids per stored array, or None if a shard has another layout."""
        places = self._map.find(ids)
        numbers = np.searchsorted(self._starts, places, side="right") - 1
        out = ShardRows(self._specs, len(ids))
        for number in np.unique(numbers):
            chosen = np.flatnonzero(numbers == number)
            rows = self._rows[number][places[chosen] - self._starts[number]].astype(np.int64)
            arrays = {}
            for spec in self._specs:
                values = self._shards[int(number)].take(spec, rows)
                if values is None:
                    return None
                arrays[spec.name] = values
            out.put(chosen, arrays)
        return out.arrays()
