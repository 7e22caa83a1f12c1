"""A column of strings as numbers of its distinct values: how tables of many rows hold names, splits and ids."""

from collections.abc import Iterable, Iterator
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
        codes: int8 or int32, positions in `values`; -1 for null.
        values: distinct strings.
    """

    def __init__(self, codes: np.ndarray, values: Ids) -> None:
        self.codes, self.values = codes, values

    @classmethod
    def of(cls, strings: Strings | Ids) -> "Coded":
        """A column (n,) of strings without null."""
        ids = Ids.of(strings)
        codes, first = ids.numbered()
        return cls(codes, ids.take(first))

    @classmethod
    def of_arrow(cls, parts: Iterable[pa.ChunkedArray | pa.Array]) -> "Coded":
        """A column (n,) from columns of tables, one after another; null stays null."""
        chunks = [chunk for part in parts for chunk in (part.chunks if isinstance(part, pa.ChunkedArray) else [part])]
        whole = pa.chunked_array(chunks, pa.string())
        encoded = whole.dictionary_encode().combine_chunks()
        if isinstance(encoded, pa.ChunkedArray):  # of no rows
            return cls(np.empty(0, np.int32), Ids.of([]))
        codes = pc.fill_null(encoded.indices, _NONE).to_numpy(zero_copy_only=False)
        return cls(codes.astype(np.int32, copy=False), Ids.of(encoded.dictionary))

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
        rank[order] = np.arange(len(order))
        rank[-1] = _NONE
        return Coded(rank[self.codes], self.values.take(order))
