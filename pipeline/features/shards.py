"""One shard: a run of rows of every array, written once into the scratch folder, whole or not at all."""

import json
import os
import secrets
import shutil
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from pipeline.errors import StoreError
from pipeline.features.layout import ArraySpec, contiguous_chunks, fsync_folder, index_bytes
from pipeline.features.manifest import checksum
from pipeline.features.ragged import LENGTH, token_positions
from pipeline.features.replace import aside, forget_aside, remove
from pipeline.parquet import grouped, read_parquet

VALID = ArraySpec("valid", (), "bool")
SCALE = "_scale"
RECORD = "shard.json"
_ROWS = "rows.parquet"
_ROW_GROUP = 1 << 20  # rows of a row list that are compressed together
_PIECE = 1 << 18  # values processed together, so that they stay in the processor's cache


def length_spec(spec: ArraySpec) -> ArraySpec:
    """The array with the number of tokens of each row of a ragged one, or of its scales."""
    return ArraySpec(spec.name.removesuffix(SCALE) + LENGTH, (), "int32")


@dataclass(frozen=True)
class ShardRecord:
    """The record that a finished shard keeps of itself.

    Attributes:
        key: digest of the ids it holds, in order, and of the shard length.
        rows: how many ids.
        shard_rows: rows of a whole shard in this layout.
        files: per array, the xxh3-128 of the shard file in hex.
        rows_xxh3_128: of the list of ids and reasons; empty in records of earlier versions, which did not sum it.
    """

    key: str
    rows: int
    shard_rows: int
    files: dict[str, str]
    rows_xxh3_128: str = ""


def shard_key(ids: Sequence[str] | pa.Array, shard_rows: int) -> str:
    """Name of the shard that holds exactly these ids in this order: XXH3-128 of where each begins, and of them."""
    if not isinstance(ids, pa.Array):
        ids = pa.array(ids, pa.string())
    digest = xxhash.xxh3_128(np.array([shard_rows, len(ids)], "<i8").tobytes())
    if len(ids):
        _, offsets, joined = ids.buffers()
        starts = np.frombuffer(offsets, "<i4", len(ids) + 1)
        digest.update(starts.tobytes())
        digest.update(memoryview(joined)[: int(starts[-1])])
    return digest.hexdigest()


class ShardWriter:
    """Writes the arrays of one shard row by row and publishes them by renaming their folder.

    Who shares the scratch folder with others takes a `Claim` of the shard first: what a killed run left is removed.
    Use as a context manager: leaving it without `finish` (a killed or failed run) leaves no shard behind.
    """

    def __init__(self, scratch: Path, specs: Sequence[ArraySpec], ids: Sequence[str], shard_rows: int) -> None:
        self._ids = pa.array(ids, pa.string())
        self._specs = [*specs, VALID]
        self._shard_rows = shard_rows
        self._final = scratch / shard_key(self._ids, shard_rows)
        self._aside = aside(self._final)
        self._partial = self._aside / secrets.token_hex(4)
        self._written = 0
        self._counts = dict.fromkeys((spec.name for spec in self._specs), 0)
        self._reasons: list[str | None] = []
        self._files: dict[str, IO[bytes]] = {}
        self._sums: dict[str, Any] = {}
        self._handed_over = False

    def __enter__(self) -> "ShardWriter":
        remove(self._aside)  # left by a killed run
        self._partial.mkdir(parents=True)
        for spec in self._specs:
            self._files[spec.name] = open(self._partial / spec.name, "wb")
            self._sums[spec.name] = xxhash.xxh3_128()
        return self

    def __exit__(self, *_: object) -> None:
        if not self._handed_over:
            self._clear()

    def _clear(self) -> None:
        for file in self._files.values():
            with suppress(OSError):  # on a full disk closing fails again, and the files must go all the more
                file.close()
        shutil.rmtree(self._partial, ignore_errors=True)
        forget_aside(self._final)

    def append(self, rows: Mapping[str, np.ndarray], reasons: Sequence[str | None]) -> None:
        """Add the next rows.

        Args:
            rows: per array (n, *row_shape), in any float dtype; rows that have a reason are stored as NaN. Of a
                ragged array the tokens of all n rows, (T, *row_shape); rows that have a reason have none.
            reasons: per row, why it could not be encoded, or None.

        Raises:
            StoreError: a value does not fit the array's dtype; the message names the parameter to change.
        """
        failed = np.zeros(len(reasons), dtype=bool)
        if reasons.count(None) < len(reasons):
            failed[:] = [reason is not None for reason in reasons]
        for spec in self._specs:
            if spec.name == VALID.name:
                self._write(spec, ~failed, np.zeros(len(failed), dtype=bool))
                continue
            values = rows[spec.name]
            if values.shape[1:] != spec.row_shape or not (spec.ragged or len(values) == len(reasons)):
                raise StoreError(
                    f"Array {spec.name!r}: expected rows of shape {spec.row_shape}, found {values.shape[1:]}."
                )
            self._write(spec, values, np.zeros(len(values), dtype=bool) if spec.ragged else failed)
        self._written += len(reasons)
        self._reasons.extend(reasons)

    def _write(self, spec: ArraySpec, values: np.ndarray, failed: np.ndarray) -> None:
        self._counts[spec.name] += len(values)
        stored = np.ascontiguousarray(_converted(values, spec, failed))
        unchecked = stored.dtype.kind == "f" and not failed.any()
        if not unchecked:
            _require_fit(stored, values, spec, failed)
        flat = stored.reshape(-1)
        for start in range(0, len(flat), _PIECE):  # checked, summed and written while in the processor's cache
            piece = flat[start : start + _PIECE]
            if unchecked and not _all_finite(piece):
                _require_fit(stored, values, spec, failed)  # raises with the value
            self._put(spec.name, piece.view(np.uint8).data)

    def _put(self, name: str, content: bytes | memoryview) -> None:
        self._sums[name].update(content)
        self._files[name].write(content)

    def finish(self) -> "ScratchShard":
        """Pad the last chunk, add the index, make everything durable and publish the shard."""
        self._end()
        return self._publish()

    def finish_in_background(self, pool: Executor) -> "Future[ScratchShard]":
        """`finish`, but a thread of `pool` makes the shard durable and publishes it while the caller makes the next.

        Its errors come with the result; also then nothing is left behind.
        """
        self._end()
        self._handed_over = True

        def publish() -> ScratchShard:
            try:
                return self._publish()
            finally:
                self._clear()

        return pool.submit(publish)

    def _end(self) -> None:
        if self._written != len(self._ids):
            raise StoreError(f"A shard of {len(self._ids)} ids got {self._written} rows; nothing was published.")
        for spec in self._specs:
            count = self._counts[spec.name]
            chunk, chunks = spec.chunking(self._shard_rows, count)
            present = -(-count // chunk)
            padding = np.full((present * chunk - count, *spec.row_shape), spec.fill, dtype=spec.dtype)
            self._put(spec.name, padding.tobytes())
            self._put(spec.name, index_bytes(chunks, present, chunk * spec.row_bytes))

    def _publish(self) -> "ScratchShard":
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
            file.close()
        sums = {name: running.hexdigest() for name, running in self._sums.items()}
        record = ShardRecord(self._final.name, self._written, self._shard_rows, sums)
        table = row_list(self._ids, self._reasons)
        record = describe(self._partial, record, table)
        if not self._final.is_symlink() and (theirs := ScratchShard.find(self._final)) is not None:
            return theirs  # of a node that locks do not reach
        remove(self._final)
        os.replace(self._partial, self._final)
        fsync_folder(self._final.parent)
        return ScratchShard(self._final, record, table)


def row_list(ids: Sequence[str] | pa.Array, reasons: Sequence[str | None]) -> pa.Table:
    """Columns `id` and `reason` (null where the row was encoded) of rows in order."""
    return pa.table({"id": pa.array(ids, pa.string()), "reason": pa.array(reasons, pa.string())})


def write_rows(tables: Iterable[pa.Table], path: Path) -> None:
    """Write the rows of some tables of `row_list`, few of them held at a time.

    Without dictionary or statistics for ids: all differ, and nothing searches by value.
    """
    schema, options = row_list([], []).schema, {"compression": "zstd", "use_dictionary": ["reason"]}
    with pq.ParquetWriter(path, schema, write_statistics=False, **options) as writer:
        empty = True
        for group in grouped(tables, _ROW_GROUP):
            writer.write_table(group, row_group_size=_ROW_GROUP)
            empty = False
        if empty:
            writer.write_table(schema.empty_table())


def describe(folder: Path, record: ShardRecord, table: pa.Table) -> ShardRecord:
    """Write the row list `table` and, last, the record that makes the files in `folder` a finished shard.

    Returns:
        `record` as written, with the checksum of the row list.
    """
    write_rows([table], folder / _ROWS)
    record = replace(record, rows_xxh3_128=checksum(folder / _ROWS))
    (folder / RECORD).write_text(json.dumps(asdict(record), sort_keys=True), encoding="utf-8")
    fsync_folder(folder)
    return record


def fit(values: np.ndarray, spec: ArraySpec, failed: np.ndarray) -> np.ndarray:
    """Convert to the stored dtype; rows that failed become NaN, or 0 in int8.

    Raises:
        StoreError: a value of another row overflows the dtype or is NaN.
    """
    stored = _converted(values, spec, failed)
    _require_fit(stored, values, spec, failed)
    return stored


def _converted(values: np.ndarray, spec: ArraySpec, failed: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        stored: np.ndarray = np.asarray(values).astype(spec.dtype, copy=bool(failed.any()))
    if failed.any():
        stored[failed] = spec.fill
    return stored


def _require_fit(stored: np.ndarray, values: np.ndarray, spec: ArraySpec, failed: np.ndarray) -> None:
    if stored.dtype.kind == "f" and not _all_finite(stored[~failed] if failed.any() else stored):
        finite = np.where(failed.reshape(-1, *[1] * len(spec.row_shape)), 0, values)
        if np.isnan(finite).any():
            raise StoreError(f"Array {spec.name!r}: NaN in a row that is not marked as failed. Give that row a reason.")
        raise StoreError(
            f"Array {spec.name!r}: a feature of magnitude {float(np.abs(finite).max()):.4g} does not fit "
            f"{spec.dtype} (largest {np.finfo(spec.dtype).max:.4g}). Set `dtype: float32` for this view in params.yaml."
        )


def _all_finite(stored: np.ndarray) -> bool:
    """Whether a float16 or float32 array is free of NaN and infinity; on integers, as numpy has no fast float16."""
    bits = 8 * stored.dtype.itemsize
    pattern = np.ascontiguousarray(stored).reshape(-1).view(f"u{stored.dtype.itemsize}")
    infinity = np.array(np.inf, stored.dtype).view(pattern.dtype)
    magnitude = np.array(2 ** (bits - 1) - 1, pattern.dtype)
    magnitudes = np.empty(min(_PIECE, len(pattern)), pattern.dtype)
    for start in range(0, len(pattern), _PIECE):
        piece = pattern[start : start + _PIECE]
        if np.bitwise_and(piece, magnitude, out=magnitudes[: len(piece)]).max() >= infinity:
            return False
    return True


class ScratchShard:
    """A finished shard in the scratch folder; `table` is its row list where that need not be read."""

    def __init__(self, folder: Path, record: ShardRecord, table: pa.Table | None = None) -> None:
        self.folder = folder
        self.record = record
        self._table = table

    @classmethod
    def find(cls, folder: Path) -> "ScratchShard | None":
        """The shard at `folder`, or None if it is not finished or its list of ids is damaged."""
        try:
            record = ShardRecord(**json.loads((folder / RECORD).read_text(encoding="utf-8")))
            if record.rows_xxh3_128 and checksum(folder / _ROWS) != record.rows_xxh3_128:
                return None
        except (OSError, ValueError, TypeError):
            return None
        return cls(folder, record) if all((folder / name).is_file() for name in record.files) else None

    @property
    def bytes(self) -> int:
        """Size of its arrays on disk."""
        return sum((self.folder / name).stat().st_size for name in self.record.files)

    def rows(self) -> tuple[list[str], list[str | None]]:
        """Ids and failure reasons, in row order."""
        table = self.row_table()
        return table.column("id").to_pylist(), table.column("reason").to_pylist()

    def row_table(self) -> pa.Table:
        """The `row_list` of the shard, read each time: of many shards it would take more than their ids need."""
        return read_parquet(self.folder / _ROWS) if self._table is None else self._table

    def reasons(self) -> list[str]:
        """Why rows have no features, of those that have none."""
        table = read_parquet(self.folder / _ROWS, ["reason"]) if self._table is None else self._table
        found: list[str] = table.column("reason").drop_null().to_pylist()
        return found

    def take(self, spec: ArraySpec, rows: np.ndarray) -> np.ndarray | None:
        """Rows of one array (n, *row_shape), or None if the file does not have the layout of `spec`.

        For a ragged array, the tokens of those rows one after another.
        """
        count = self.record.rows
        if spec.ragged:
            lengths = self.lengths(spec)
            if lengths is None:
                return None
            count = int(lengths.sum())
            rows = token_positions((np.cumsum(lengths) - lengths)[rows], lengths[rows])
        path = self.folder / spec.name
        chunk, chunks = spec.chunking(self.record.shard_rows, count)
        present = contiguous_chunks(path, chunks, chunk * spec.row_bytes) if path.is_file() else None
        if present is None:
            return None
        mapped = np.memmap(path, dtype=spec.dtype, mode="r", shape=(present * chunk, *spec.row_shape))
        return np.asarray(mapped[rows])

    def lengths(self, spec: ArraySpec) -> np.ndarray | None:
        """Tokens of each row of a ragged array (rows,) int64; None if they cannot be read."""
        lengths = self.take(length_spec(spec), np.arange(self.record.rows))
        return None if lengths is None else lengths.astype(np.int64)
