"""A column of strings as numbers of its distinct values: how tables of many rows hold names, splits and ids."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.ids import Ids, Strings
from pipeline.row_map import RowMap

_NONE = -1  # code of null
_ABSENT = -2  # of a string that is no value here


class Coded:
    """Strings, or null, of any shape; it answers `==`, indexing and conversion as an array of them would.

    Attributes:
        codes: int8, int16 or int32, positions in `values`; -1 for null.
        values: distinct strings.
    """

    def __init__(self, codes: np.ndarray, values: Ids) -> None:
        self.codes, self.values = codes, values

    @classmethod
    def of(cls, strings: Strings | Ids) -> "Coded":
        """A column (n,) of strings without null."""
        ids = Ids.of(strings)
        codes, first = ids.numbered()
        return cls(codes.astype(_smallest(len(first)), copy=False), ids.take(first))

    @classmethod
    def of_list(cls, values: "Iterable[str | None] | Coded") -> "Coded":
        """A column (n,) from strings and None."""
        return values if isinstance(values, Coded) else cls.of_pieces([pa.chunked_array([list(values)], pa.string())])

    @classmethod
    def of_pieces(cls, pieces: Iterable[pa.ChunkedArray]) -> "Coded":
        """A column (n,) from pieces that are read one after another; null stays null."""

        def coded(piece: pa.ChunkedArray) -> "Coded":
            part = cls.of(piece if not piece.null_count else pc.fill_null(piece, ""))
            if piece.null_count:
                part.codes[piece.is_null().to_numpy()] = _NONE
            return part

        return cls.joined(map(coded, pieces))

    @classmethod
    def joined(cls, parts: "Iterable[Coded]") -> "Coded":
        """A column (n,) from columns in turn."""
        pieces = [(part.codes, part.values) for part in parts]
        starts = np.cumsum([0, *(len(values) for _, values in pieces)])
        every = Ids.joined(values for _, values in pieces)
        pieces = [(codes, Ids.of(())) for codes, _ in pieces]
        numbers, first = every.numbered()
        whole, place = np.empty(sum(len(codes) for codes, _ in pieces), _smallest(len(first))), 0
        for (codes, _), start, end in zip(pieces, starts, starts[1:], strict=False):
            number_of = np.append(numbers[start:end], np.int32(_NONE))
            whole[place : place + len(codes)] = number_of[codes]
            place += len(codes)
        return cls(whole, every.take(first))

    def numbered_as(self, names: Sequence[str]) -> np.ndarray:
        """Codes (n,) int8 as positions in `names`; -1 for null and for what is not among them."""
        ours = self.values.tolist()
        place = np.array([*(names.index(value) if value in names else _NONE for value in ours), _NONE], np.int8)
        return np.asarray(place[self.codes])

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the codes."""
        return self.codes.shape

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, key: Any) -> Any:
        """A string where one is meant, else the column at these places."""
        codes = self.codes[key]
        if np.ndim(codes) == 0:
            return None if codes == _NONE else self.values[int(codes)]
        return Coded(codes, self.values)

    def __eq__(self, other: object) -> Any:
        if isinstance(other, str):
            return self.codes == self.code(other)
        return np.asarray(self) == np.asarray(other)

    def __ne__(self, other: object) -> Any:
        return ~(self == other)

    __hash__ = None  # type: ignore[assignment]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.tolist())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.strings() if dtype is None else self.astype(dtype)

    def astype(self, dtype: Any) -> np.ndarray:
        """As an array of strings."""
        return self.strings().astype(dtype)

    def strings(self) -> np.ndarray:
        """As an array of objects; only the values that occur are made."""
        used, places = np.unique(self.codes, return_inverse=True)
        names = self.values.take(used[used >= 0]).tolist()
        return np.array([*[None] * int((used < 0).sum()), *names], dtype=object)[places.reshape(self.shape)]

    def distinct(self) -> list[str]:
        """The strings that occur, sorted."""
        used = np.unique(self.codes)
        return sorted(self.values.take(used[used >= 0]))

    def tolist(self) -> list[Any]:
        """As a list, of lists where there are two axes."""
        found: list[Any] = self.strings().tolist()
        return found

    def code(self, value: str) -> int:
        """The code of a value; of one that is not here a code that nothing has."""
        place = int(self._map.find([value])[0])
        return place if place >= 0 else _ABSENT

    @cached_property
    def _map(self) -> RowMap:
        return RowMap(self.values)

    def ids(self) -> Ids:
        """The strings of a column (n,) without null."""
        return self.values.take(self.codes)

    def arrow(self) -> pa.Array:
        """A column (n,) as Arrow's `string`."""
        taken = self.values.take(np.maximum(self.codes, 0)).strings() if len(self.values) else None
        if taken is None:
            return pa.nulls(len(self.codes), pa.string())
        return pc.if_else(pa.array(self.codes >= 0), taken, None).cast(pa.string())

    def sorted(self) -> "Coded":
        """The same with values, and so codes, in the order of strings."""
        order = self.values.in_order()
        rank = np.empty(len(order) + 1, self.codes.dtype)
        rank[order] = np.arange(len(order), dtype=rank.dtype)
        rank[-1] = _NONE
        return Coded(rank[self.codes], self.values.take(order))


def _smallest(values: int) -> type[np.signedinteger[Any]]:
    """The smallest type for the codes of so many values."""
    return np.int8 if values <= 2**7 else np.int16 if values <= 2**15 else np.int32
