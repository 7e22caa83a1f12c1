"""Writes the rows of a Parquet table as they arrive, each key once, in memory that does not grow with their number."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.datasets.tables import ROW_GROUP, write_table

Row = tuple[Any, ...]
_PART = 1 << 19  # keys sorted at a time; each takes 60 bytes with its order


class Digests:
    """A file of 128-bit keys: 16 bytes of disk each, and one byte of memory while looking for duplicates."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = open(path, "wb")  # noqa: SIM115 (closed by `close`)
        self._count = 0

    def append(self, digests: list[bytes]) -> None:
        """Add keys of 16 bytes each."""
        self._file.write(b"".join(digests))
        self._count += len(digests)

    def first(self) -> np.ndarray:
        """(n,) bool: which keys occur for the first time."""
        self._file.flush()
        new = np.ones(self._count, dtype=bool)
        if not self._count:
            return new
        keys = np.memmap(self._path, dtype=">u8", mode="r").reshape(-1, 2)
        parts = -(-self._count // _PART)
        for part in range(parts):
            places = _in_part(keys, part, parts)
            high, low = keys[places, 0], keys[places, 1]
            order = np.lexsort((places, low, high))
            again = (high[order][1:] == high[order][:-1]) & (low[order][1:] == low[order][:-1])
            new[places[order[1:][again]]] = False
        return new

    def close(self) -> None:
        """Remove the file."""
        self._file.close()
        self._path.unlink(missing_ok=True)


def _in_part(keys: np.ndarray, part: int, parts: int) -> np.ndarray:
    """Positions, in rising order, of keys whose first half is in the given part of all numbers; read in pieces."""
    width = -(-(1 << 64) // parts)
    low, high = part * width, min((part + 1) * width, 1 << 64) - 1
    positions = [np.empty(0, dtype=np.int64)]
    for start in range(0, len(keys), _PART):
        heads = keys[start : start + _PART, 0]
        positions.append(start + np.flatnonzero((heads >= low) & (heads <= high)))
    return np.concatenate(positions)


def digest(*parts: str) -> bytes:
    """16 bytes that stand for a key of several strings."""
    return hashlib.blake2b("\0".join(parts).encode("utf-8"), digest_size=16).digest()


class Spool:
    """A table that is written in row groups while it grows.

    A key that recurs within a row group is dropped at once; one that recurs later, when the table is finished: then all
    keys are sorted, a part at a time, and the table is copied without the duplicate rows, if there are any.

    Args:
        schema: of the table.
        path: of the table; until it is finished, `*.spool` beside it.
    """

    def __init__(self, schema: pa.Schema, path: Path) -> None:
        self._schema, self._path = schema, path
        self._partial = path.with_name(path.name + ".spool")
        self._rows: dict[bytes, Row] = {}
        self._writer: pq.ParquetWriter | None = None
        self._digests: Digests | None = None
        self._count = 0

    def __len__(self) -> int:
        """Rows so far; while the table grows, duplicates in a later row group are counted again."""
        return self._count + len(self._rows)

    def add(self, key: bytes, row: Row) -> None:
        """Add a row, its values in the order of the schema, unless `key` (16 bytes) has one."""
        self._rows.setdefault(key, row)
        if len(self._rows) >= ROW_GROUP:
            self._flush()

    def finish(self) -> int:
        """Write the table and return its number of rows."""
        if self._writer is None:
            write_table(self._table(), self._path)
            return self._count
        self._flush()
        assert self._digests is not None
        self._writer.close()
        new = self._digests.first()
        if new.all():
            os.replace(self._partial, self._path)
        else:
            self._count = _copy(self._partial, self._path, self._schema, new)
        self.discard()
        return self._count

    def discard(self) -> None:
        """Remove unfinished files."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._digests is not None:
            self._digests.close()
            self._digests = None
        self._partial.unlink(missing_ok=True)

    def _flush(self) -> None:
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._partial, self._schema, compression="zstd")
            self._digests = Digests(self._path.with_name(self._path.name + ".keys"))
        assert self._digests is not None
        if self._rows:
            self._digests.append(list(self._rows))
            self._writer.write_table(self._table(), row_group_size=ROW_GROUP)

    def _table(self) -> pa.Table:
        columns = zip(*self._rows.values(), strict=True) if self._rows else [()] * len(self._schema)
        arrays = [pa.array(values, field.type) for values, field in zip(columns, self._schema, strict=True)]
        self._count += len(self._rows)
        self._rows = {}
        return pa.Table.from_arrays(arrays, schema=self._schema)


def _copy(source: Path, target: Path, schema: pa.Schema, keep: np.ndarray) -> int:
    """Copy the rows of a table at which `keep` (n,) bool is true, in row groups of the usual length."""
    partial = target.with_name(target.name + ".partial")
    with pq.ParquetWriter(partial, schema, compression="zstd") as writer:
        for group in _regrouped(source, keep):
            writer.write_table(group, row_group_size=ROW_GROUP)
    os.replace(partial, target)
    return int(keep.sum())


def _regrouped(source: Path, keep: np.ndarray) -> Iterator[pa.Table]:
    waiting: pa.Table | None = None
    start = 0
    with pq.ParquetFile(source) as file:
        for number in range(file.num_row_groups):
            group = file.read_row_group(number)
            kept = group.filter(pa.array(keep[start : start + len(group)]))
            start += len(group)
            waiting = kept if waiting is None else pa.concat_tables([waiting, kept])
            while len(waiting) >= ROW_GROUP:
                yield waiting.slice(0, ROW_GROUP).combine_chunks()
                waiting = waiting.slice(ROW_GROUP)
    if waiting is not None and len(waiting):
        yield waiting.combine_chunks()
