"""The texts of an index, or names of its pictures, by id, as Arrow holds them: 20 bytes beside the characters."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np
import pyarrow as pa

from pipeline.ids import Ids
from pipeline.row_map import RowMap

_PIECE = 1 << 16


class StoredTexts(Mapping[str, str]):
    """Texts by id, in order.

    Attributes:
        ids: each once.
    """

    def __init__(self, ids: Ids, texts: Sequence[pa.ChunkedArray], rows: np.ndarray) -> None:
        """Take the rows of a table that are each the first of their id.

        Args:
            ids, texts: of all rows of the table, the texts in pieces.
            rows: (n,) int64, rising.
        """
        self.ids = ids.take(rows)
        self._chunks = [chunk for piece in texts for chunk in piece.chunks]
        if len(rows) < len(ids):
            starts = np.cumsum([0, *map(len, self._chunks)])
            bounds = np.searchsorted(rows, starts)
            self._chunks = [
                chunk.take(pa.array(rows[low:high] - start))
                for chunk, start, low, high in zip(self._chunks, starts, bounds, bounds[1:], strict=False)
            ]
        self._starts = np.cumsum([0, *map(len, self._chunks)])

    @cached_property
    def _rows(self) -> RowMap:
        return RowMap(self.ids)

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    def __getitem__(self, identifier: str) -> str:
        return self.several([identifier])[0]

    def several(self, ids: Sequence[str]) -> list[str]:
        """The texts of some ids, much faster than one by one.

        Raises:
            KeyError: one of them is not here.
        """
        rows = self._rows.find(ids)
        if (rows < 0).any():
            raise KeyError(ids[int(np.flatnonzero(rows < 0)[0])])
        texts = np.empty(len(rows), object)
        numbers = np.searchsorted(self._starts, rows, side="right") - 1
        for number in np.unique(numbers).tolist():
            some = np.flatnonzero(numbers == number)
            texts[some] = self._chunks[number].take(pa.array(rows[some] - self._starts[number])).to_pylist()
        found: list[str] = texts.tolist()
        return found

    def each(self) -> Iterator[str]:
        """All texts in order."""
        for chunk in self._chunks:
            for start in range(0, len(chunk), _PIECE):
                yield from chunk[start : start + _PIECE].to_pylist()

    def as_ids(self) -> Ids:
        """All texts in order."""
        return Ids.joined(self._chunks)


def texts_of(strings: Mapping[str, str], ids: Sequence[str]) -> list[str]:
    """The texts of some ids."""
    return strings.several(ids) if isinstance(strings, StoredTexts) else [strings[identifier] for identifier in ids]


def all_texts(strings: Mapping[str, str]) -> Iterator[str]:
    """All texts in order."""
    return strings.each() if isinstance(strings, StoredTexts) else iter(strings.values())


def columns_of(strings: Mapping[str, str]) -> tuple[Ids, Ids]:
    """The ids and the texts, each in order."""
    if isinstance(strings, StoredTexts):
        return strings.ids, strings.as_ids()
    return Ids.of(list(strings)), Ids.of(list(strings.values()))
