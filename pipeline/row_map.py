"""Which row holds an id, by sorted hashes: 12 bytes a row, and no Python object per row as a dictionary has."""

import numpy as np

from pipeline.ids import Ids, Strings


class RowMap:
    """Looks ids up among those of rows; of equal ones the first counts.

    Args:
        ids: of the rows, in order.
    """

    def __init__(self, ids: Ids) -> None:
        self._ids = ids
        keys = ids.keys()
        order = np.argsort(keys, kind="stable")
        self._keys = keys[order]
        self._rows = order.astype(np.uint32 if len(order) < 2**32 else np.int64)

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def nbytes(self) -> int:
        """Bytes that it takes, without the ids."""
        return int(self._keys.nbytes + self._rows.nbytes)

    def find(self, wanted: Strings | Ids) -> np.ndarray:
        """Row of each id, (n,) int64; -1 where no row has it."""
        asked, possible = Ids.of(wanted).like(self._ids)
        keys = asked.keys()
        places = np.searchsorted(self._keys, keys)
        found = np.full(len(asked), -1, np.int64)
        left = np.flatnonzero(possible)
        while True:  # once, unless several ids share a hash
            left = left[places[left] < len(self._keys)]
            left = left[self._keys[places[left]] == keys[left]]
            if not left.size:
                return found
            rows = self._rows[places[left]].astype(np.int64)
            same = self._ids.same(rows, asked, left)
            found[left[same]] = rows[same]
            left = left[~same]
            places[left] += 1
