"""Ids of many rows, without a Python object each: 16 bytes where all are hashes in hex, else as Arrow holds strings."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

DIGITS = 32  # of the ids of images and texts: 128 bits in hex
_PIECE = 1 << 16  # rows converted at a time
_MIX = np.uint64(0x9E3779B97F4A7C15)
_VALUE = np.full(256, 255, np.uint8)  # of a hexadecimal digit; those of capitals are other strings
_VALUE[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16)
_HEX = np.frombuffer(bytes(range(256)).hex().encode(), np.uint8).reshape(256, 2)

Strings: TypeAlias = Sequence[str] | np.ndarray | Any  # or an array of Arrow, chunked or not


class Ids(Sequence[str]):
    """Strings in order, never changed.

    Build them with `of` or `joined`. Values that are no valid strings (null, numbers, lone surrogates) are kept as
    null, which equals nothing.
    """

    def __init__(self, packed: np.ndarray | None, strings: Any = None) -> None:
        """Take one of two forms: `packed` (n, 16) uint8, or the strings themselves."""
        self._packed, self._strings = packed, strings

    @classmethod
    def of(cls, values: "Strings | Ids") -> "Ids":
        """The given strings; a single string is refused by the caller, as it is a sequence as well."""
        if isinstance(values, Ids):
            return values
        chunks = values.chunks if isinstance(values, pa.ChunkedArray) else [values]
        return cls.joined(chunks)

    @classmethod
    def joined(cls, parts: "Iterable[Strings | Ids]") -> "Ids":
        """The strings of all parts in turn; of the parts as little as possible is held at a time."""
        done = [part if isinstance(part, Ids) else _compact(_large(part)) for part in parts]
        done = [part for part in done if len(part)] or [cls(np.empty((0, DIGITS // 2), np.uint8))]
        if len(done) == 1:
            return done[0]
        if all(part._packed is not None for part in done):
            return cls(np.concatenate([part._packed for part in done if part._packed is not None]))
        return cls(None, pa.concat_arrays([part.strings() for part in done]))

    def __len__(self) -> int:
        return len(self._strings) if self._packed is None else len(self._packed)

    def __getitem__(self, place: Any) -> Any:
        """The string at a place, or the `Ids` at some of them: a slice, positions or a mask."""
        if isinstance(place, int | np.integer):
            return self.take(np.array([range(len(self))[place]])).strings()[0].as_py()
        if isinstance(place, slice):
            if place.step in (None, 1):
                return self._part(*place.indices(len(self))[:2])
            return self.take(np.arange(*place.indices(len(self))))
        places = np.asarray(place)
        return self.take(np.flatnonzero(places) if places.dtype == bool else places)

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _PIECE):
            yield from self.take(np.arange(start, min(start + _PIECE, len(self)))).strings().to_pylist()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.tolist(), dtype=dtype or str)

    def tolist(self) -> list[str]:
        """All of them as a list."""
        return list(self)

    @property
    def nbytes(self) -> int:
        """Bytes that they take."""
        return int(self._strings.nbytes if self._packed is None else self._packed.nbytes)

    def take(self, rows: np.ndarray) -> "Ids":
        """Those at the given positions, which share the memory of these where they are all in order."""
        if len(rows) == len(self) and _are_all(rows):
            return self
        if self._packed is not None:
            return Ids(self._packed[rows])
        return Ids(None, self._strings.take(pa.array(rows)))

    def _part(self, start: int, stop: int) -> "Ids":
        """A range of them, in the same memory."""
        if self._packed is not None:
            return Ids(self._packed[start:stop])
        return Ids(None, self._strings.slice(start, max(0, stop - start)))

    def strings(self) -> pa.LargeStringArray:
        """All of them as Arrow holds them."""
        return self._strings if self._packed is None else _unpacked(self._packed)

    def like(self, other: "Ids") -> tuple["Ids", np.ndarray]:
        """These in the form of `other`, and which of them (n,) bool can be equal to one of its ids."""
        if (self._packed is None) == (other._packed is None):
            return self, np.ones(len(self), dtype=bool)
        if self._packed is not None:
            return Ids(None, self.strings()), np.ones(len(self), dtype=bool)
        packed, good = _packed(self._strings)
        return Ids(packed), good

    def keys(self) -> np.ndarray:
        """A number (n,) uint64 of each; equal ids of one form have equal ones, others hardly ever."""
        if self._packed is not None:
            halves = self._packed.view("<u8")
            return np.asarray(halves[:, 0] + halves[:, 1] * _MIX, np.uint64)
        out = np.empty(len(self), np.uint64)
        for start in range(0, len(self), _PIECE):
            values = self._strings[start : start + _PIECE].to_pylist()
            hashes = (xxhash.xxh3_64_intdigest((value or "").encode("utf-8")) for value in values)
            out[start : start + len(values)] = np.fromiter(hashes, np.uint64, len(values))
        return out

    def same(self, rows: np.ndarray, other: "Ids", places: np.ndarray) -> np.ndarray:
        """Whether the id of each row (k,) is that of `other`, which has the same form, at each place (k,)."""
        if self._packed is not None and other._packed is not None:
            return np.asarray((self._packed[rows] == other._packed[places]).all(axis=1))
        equal = pc.equal(self.take(rows).strings(), other.take(places).strings())
        return np.asarray(pc.fill_null(equal, False).to_numpy(zero_copy_only=False))

    def numbered(self) -> tuple[np.ndarray, np.ndarray]:
        """Distinct ids as numbers: (n,) int32, equal for equal ids and rising in order of first occurrence; and the
        row (m,) int64 where each number occurs first.
        """
        found = self._grouped()
        if found is None:
            encoded = pc.dictionary_encode(self.strings(), null_encoding="encode").indices
            codes = encoded.to_numpy(zero_copy_only=False).astype(np.int32, copy=False)
            first = np.full(int(codes.max(initial=-1)) + 1, len(codes), np.int64)
            np.minimum.at(first, codes, np.arange(len(codes)))
            return codes, first
        order, new = found
        if new.all():
            return np.arange(len(order), dtype=np.int32), np.arange(len(order))
        first = order[new]
        rank = np.empty(len(first), np.int32)
        rank[np.argsort(first)] = np.arange(len(first), dtype=np.int32)
        codes = np.empty(len(order), np.int32)
        codes[order] = rank[np.cumsum(new, dtype=np.int32) - 1]
        return codes, np.sort(first)

    def firsts(self) -> np.ndarray:
        """The row (m,) int64 where each distinct id occurs first, in order; as `numbered`, in less memory."""
        found = self._grouped()
        if found is None:
            return self.numbered()[1]
        order, new = found
        return np.arange(len(order)) if new.all() else np.sort(order[new])

    def _grouped(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Rows (n,) in an order that puts equal ids together, the first one first, and which (n,) bool begin another.

        None where that needs more than the numbers of `keys`: two ids share one, or there are nulls.
        """
        keys = self.keys()
        order = np.argsort(keys, kind="stable")
        if len(order) < 2**32:
            order = order.astype(np.uint32)
        new = np.ones(len(order), dtype=bool)
        for start in range(1, len(order), _PIECE):
            here = order[start : start + _PIECE]
            before = order[start - 1 : start - 1 + len(here)]
            differ = keys[here] != keys[before]
            alike = np.flatnonzero(~differ)
            if alike.size and not self.same(here[alike], self, before[alike]).all():
                return None
            new[start : start + len(here)] = differ
        return order, new

    def in_order(self) -> np.ndarray:
        """Positions (n,) int64 that sort them as Python sorts strings, by code points; equal ones keep their order."""
        if self._packed is None:
            return np.asarray(pc.array_sort_indices(self._strings).to_numpy().view(np.int64))
        halves = self._packed.view(">u8")
        return np.lexsort((halves[:, 1], halves[:, 0]))


def _are_all(rows: np.ndarray) -> bool:
    """Whether rows (n,) are 0 to n - 1 in order; looks no further than where they differ, a piece at a time."""
    return all(
        np.array_equal(rows[start : start + _PIECE], np.arange(start, min(start + _PIECE, len(rows))))
        for start in range(0, len(rows), _PIECE)
    )


def _large(values: Strings) -> pa.LargeStringArray:
    """Strings as one array of Arrow; what is no string becomes null."""
    if isinstance(values, pa.Array):
        return values.cast(pa.large_string())
    try:
        array = pa.array(values)
        if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
            return array.cast(pa.large_string())
    except (pa.ArrowException, UnicodeEncodeError, TypeError):
        pass
    return pa.array([_valid(value) for value in values], pa.large_string())


def _valid(value: object) -> str | None:
    try:
        return value.encode("utf-8").decode() if isinstance(value, str) else None
    except UnicodeEncodeError:
        return None


def _compact(strings: pa.LargeStringArray) -> Ids:
    packed, good = _packed(strings)
    return Ids(packed) if good.all() else Ids(None, strings)


def _packed(strings: pa.LargeStringArray) -> tuple[np.ndarray, np.ndarray]:
    """(n, 16) uint8, and which strings (n,) bool are 32 hexadecimal digits, those of others being zeros."""
    _, offsets, data = strings.buffers()
    starts = np.frombuffer(offsets, "<i8", len(strings) + 1, 8 * strings.offset) if offsets else np.zeros(1, "<i8")
    text = np.frombuffer(data, np.uint8) if data else np.empty(0, np.uint8)
    packed = np.zeros((len(strings), DIGITS // 2), np.uint8)
    good = np.diff(starts) == DIGITS
    if strings.null_count:
        good &= strings.is_valid().to_numpy(zero_copy_only=False)
    rows: slice | np.ndarray
    for start in range(0, len(strings), _PIECE):
        fitting = good[start : start + _PIECE]
        if fitting.all():  # then they lie side by side, and no place of each is needed, which is 8 times as large
            rows = slice(start, start + len(fitting))
            digits = text[starts[start] : starts[start + len(fitting)]].reshape(-1, DIGITS)
        else:
            rows = start + np.flatnonzero(fitting)
            digits = text[starts[rows][:, None] + np.arange(DIGITS)]
        values = _VALUE[digits]
        hexadecimal = np.asarray((values < 16).all(axis=1))
        packed[rows] = np.where(hexadecimal[:, None], values[:, ::2] << 4 | values[:, 1::2], 0)
        good[rows] = hexadecimal
    return packed, good


def _unpacked(packed: np.ndarray) -> pa.LargeStringArray:
    text = np.ascontiguousarray(_HEX[packed])
    starts = np.arange(len(packed) + 1, dtype="<i8") * DIGITS
    return pa.LargeStringArray.from_buffers(len(packed), pa.py_buffer(starts), pa.py_buffer(text))
