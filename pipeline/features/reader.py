"""Reading a feature store by id, at the speed of the page cache where its shards can be mapped."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import zarr

from pipeline.errors import MissingRows, StoreError
from pipeline.features.fingerprint import require_same
from pipeline.features.layout import contiguous_chunks, shard_path

ROWS_FILE = "rows.parquet"


class FeatureArray:
    """One array of a store, (N, *row_shape). Mapped shard by shard; Zarr's own reader where a shard cannot be."""

    def __init__(self, folder: Path, name: str) -> None:
        self._array: Any = zarr.open_array(str(folder / name), mode="r")
        self.shape: tuple[int, ...] = tuple(self._array.shape)
        self.dtype: np.dtype[Any] = np.dtype(self._array.dtype)
        self._shard_rows = int((self._array.shards or self._array.chunks)[0])
        self._maps: list[np.ndarray] | None = _map_shards(folder, name, self._array)

    @property
    def mapped(self) -> bool:
        """Whether reads go straight to the shard files."""
        return self._maps is not None

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Copy of the given rows (n, *row_shape) in the stored dtype.

        Args:
            rows: int64 positions, in any order, repeats allowed.
        """
        rows = np.asarray(rows, dtype=np.int64)
        if self._maps is None:
            return np.asarray(self._array.oindex[rows]) if rows.size else np.empty((0, *self.shape[1:]), self.dtype)
        if len(self._maps) == 1:
            return np.take(self._maps[0], rows, axis=0)
        out = np.empty((len(rows), *self.shape[1:]), dtype=self.dtype)
        shards = rows // self._shard_rows
        for number in np.unique(shards):
            chosen = shards == number
            out[chosen] = self._maps[number][rows[chosen] - number * self._shard_rows]
        return out


def _map_shards(folder: Path, name: str, array: Any) -> list[np.ndarray] | None:
    """Memory maps of all shards in order, or None unless every one is provably a contiguous block of rows."""
    shape, shards, chunks = tuple(array.shape), array.shards, tuple(array.chunks)
    compressed = bool(array.compressors) or bool(array.filters)
    if shards is None or compressed or tuple(shards[1:]) != shape[1:] or chunks[1:] != shape[1:]:
        return None
    shard_rows, chunk_rows = int(shards[0]), int(chunks[0])
    chunk_bytes = chunk_rows * int(np.prod(shape[1:], dtype=np.int64)) * np.dtype(array.dtype).itemsize
    maps = []
    for number in range(-(-shape[0] // shard_rows)):
        path = folder / shard_path(name, number, len(shape) - 1)
        rows = min(shard_rows, shape[0] - number * shard_rows)
        if not path.is_file():
            raise StoreError(f"{path} is missing: the store is incomplete. Restore it with: dvc checkout, or dvc repro")
        present = contiguous_chunks(path, shard_rows // chunk_rows, chunk_bytes)
        if present is None or present * chunk_rows < rows:
            return None
        full = np.memmap(path, dtype=array.dtype, mode="r", shape=(present * chunk_rows, *shape[1:]))
        maps.append(full[:rows])
    return maps


class FeatureStore:
    """A feature store, opened for reading: rows are addressed by id, never by position across stores.

    Attributes:
        folder: where it lies.
        fingerprint: digest, compared and described fields (see `Fingerprint`).
        ids: (N,) ids in row order.
        valid: (N,) bool; False where the sample could not be encoded. Such rows are never served by id.
        reasons: why, for each id that is not valid.
        names: the feature arrays, e.g. ("cls", "mean", "grid").
    """

    def __init__(self, folder: Path, attributes: dict[str, Any]) -> None:
        self.folder = folder
        self.attributes = attributes
        self.fingerprint: dict[str, Any] = attributes["fingerprint"]
        self.names: tuple[str, ...] = tuple(attributes["arrays"])
        table = pq.read_table(folder / ROWS_FILE)
        self.ids: np.ndarray = np.array(table.column("id").to_pylist(), dtype=str)
        reasons = table.column("reason").to_pylist()
        self.valid: np.ndarray = np.array([reason is None for reason in reasons], dtype=bool)
        self.reasons = {str(i): reason for i, reason in zip(self.ids, reasons, strict=True) if reason is not None}
        self._arrays: dict[str, FeatureArray] = {}
        self._row_of = {identifier: row for row, identifier in enumerate(self.ids.tolist())}

    @classmethod
    def open(cls, folder: Path, expect: dict[str, Any] | None = None) -> "FeatureStore":
        """Open the store at `folder`.

        Args:
            expect: a fingerprint (`Fingerprint.as_dict`) that the store must have.

        Raises:
            StoreError: there is no finished store, or it is damaged.
            FingerprintMismatch: it holds other features; the message lists the differing fields.
        """
        metadata = folder / "zarr.json"
        if not metadata.is_file() or not (folder / ROWS_FILE).is_file():
            raise StoreError(f"No feature store at {folder}. Encode it with: dvc repro")
        try:
            attributes = json.loads(metadata.read_text(encoding="utf-8"))["attributes"]
            fingerprint = attributes["fingerprint"]
            store = cls(folder, attributes)
        except (ValueError, KeyError, OSError) as error:
            raise StoreError(
                f"{folder} is not a feature store of this project ({type(error).__name__}: {error}). "
                "Remove the folder and run: dvc repro"
            ) from error
        if expect is not None:
            require_same(fingerprint, expect, str(folder))
        for name in store.names:
            if store.array(name).shape[0] != len(store.ids):
                raise StoreError(
                    f"{folder}/{name} has {store.array(name).shape[0]} rows for {len(store.ids)} ids. "
                    "Remove the folder and run: dvc repro"
                )
        return store

    def __len__(self) -> int:
        return len(self.ids)

    def array(self, name: str) -> FeatureArray:
        """One array by name.

        Raises:
            StoreError: the store does not hold it; the message lists what it holds.
        """
        if name not in self.names:
            raise StoreError(
                f"{self.folder} holds {', '.join(self.names)}, not {name!r}. "
                "Change `tier` of the view in params.yaml and run: dvc repro"
            )
        if name not in self._arrays:
            self._arrays[name] = FeatureArray(self.folder, name)
        return self._arrays[name]

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of an array, (N, *row_shape)."""
        return self.array(name).shape

    def rows(self, ids: Sequence[str] | np.ndarray) -> np.ndarray:
        """Positions (n,) int64 of the given ids.

        Raises:
            MissingRows: an id is not in the store, or its sample could not be encoded.
        """
        positions = np.fromiter((self._row_of.get(str(i), -1) for i in ids), dtype=np.int64, count=len(ids))
        if (positions < 0).any():
            lacking = [str(ids[int(k)]) for k in np.flatnonzero(positions < 0)]
            raise MissingRows(
                f"{self.folder} lacks {len(lacking)} of {len(ids)} ids asked for, the first {lacking[0]!r}. "
                "The index and the store are not of one run; run: dvc repro"
            )
        refused = np.flatnonzero(~self.valid[positions])
        if refused.size:
            first = str(ids[int(refused[0])])
            raise MissingRows(
                f"{self.folder}: {refused.size} of the ids asked for could not be encoded, "
                f"the first {first!r}: {self.reasons[first]}. Ask for valid ids only (`store.valid`)."
            )
        return positions

    def read(self, name: str, ids: Sequence[str] | np.ndarray) -> np.ndarray:
        """Features (n, *row_shape) of the given ids in the stored dtype, in the order of `ids`.

        Raises:
            MissingRows: as `rows`.
        """
        return self.array(name).take(self.rows(ids))
