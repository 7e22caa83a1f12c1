"""Which row holds an id, by sorted hashes: 12 bytes a row, and no Python object per row as a dictionary has."""

import numpy as np

from pipeline.ids import Ids, Strings

_PIECE = 1 << 18  # ids looked up together


class RowMap:
    """Looks ids up among those of rows; of equal ones the first counts.

    Attributes:
        ids: of the rows, in order.
    """

    def __init__(self, ids: Ids) -> None:
        self.ids = ids
        keys = ids.keys()
        order = np.argsort(keys, kind="stable")
        if len(order) < 2**32:
            order = order.astype(np.uint32)
        self._keys, self._rows = keys[order], order

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def nbytes(self) -> int:
        """Bytes that it takes, without the ids."""
        return int(self._keys.nbytes + self._rows.nbytes)

    def distinct(self) -> bool:
        """Whether no two rows have the same id."""
        return len(self.ids.firsts()) == len(self) if (self._keys[1:] == self._keys[:-1]).any() else True

    def find(self, wanted: Strings | Ids) -> np.ndarray:
        """Row of each id, (n,) int64; -1 where no row has it."""
        asked = Ids.of(wanted)
        found = np.empty(len(asked), np.int64)
        for start in range(0, len(asked), _PIECE):
            found[start : start + _PIECE] = self._found(asked[start : start + _PIECE])
        return found

    def _found(self, wanted: Ids) -> np.ndarray:
        asked, possible = wanted.like(self.ids)
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
            same = self.ids.same(rows, asked, left)
            found[left[same]] = rows[same]
            left = left[~same]
            places[left] += 1


class GrowingRowMap:
    """A `RowMap` to which rows are added: about log n maps for n parts, the oldest being the largest."""

    def __init__(self) -> None:
        self._maps: list[RowMap] = []

    def __len__(self) -> int:
        return sum(map(len, self._maps))

    def add(self, ids: Ids) -> None:
        """Add rows behind those that are there."""
        parts = [ids] if len(ids) else []
        while self._maps and parts and len(self._maps[-1]) <= 2 * sum(map(len, parts)):
            parts.insert(0, self._maps.pop().ids)
        if parts:
            self._maps.append(RowMap(Ids.joined(parts)))

    def find(self, wanted: Strings | Ids) -> np.ndarray:
        """As `RowMap.find`, over all rows in the order in which they were added."""
        asked, start = Ids.of(wanted), 0
        found = np.full(len(asked), -1, np.int64)
        for rows in self._maps:
            left = np.flatnonzero(found < 0)
            here = rows.find(asked if len(left) == len(asked) else asked[left])
            found[left[here >= 0]] = start + here[here >= 0]
            start += len(rows)
        return found
