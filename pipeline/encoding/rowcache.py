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
from pipeline.row_map import GrowingRowMap, RowMap


class RowCache:
    """Index of the rows in one scratch folder that are wanted.

    Args:
        wanted: ids of rows that are to be written.
    """

    def __init__(self, scratch: Path, specs: Sequence[ArraySpec], wanted: Ids) -> None:
        self._specs = list(specs)
        self._shards: list[ScratchShard] = []
        self._map = GrowingRowMap()
        self._starts: list[int] = []  # of each shard, its first row in `_map`
        self._rows: list[np.ndarray] = []  # of each shard, which of its rows are there
        rows: RowMap | None = None  # of what is wanted; the first encode of all does without
        for record in sorted(scratch.glob(f"*/{RECORD}")):
            if (shard := ScratchShard.find(record.parent)) is not None:
                rows = RowMap(wanted) if rows is None else rows
                self._add(shard, rows)

    def _add(self, shard: ScratchShard, wanted: RowMap) -> None:
        table = shard.row_table()
        ids, valid = Ids.of(table.column("id")), table.column("reason").is_null().to_numpy()
        rows = np.flatnonzero(valid & (wanted.find(ids) >= 0))
        self._shards.append(shard)
        self._starts.append(len(self._map))
        self._rows.append(rows.astype(np.uint32))
        self._map.add(ids[rows])

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
