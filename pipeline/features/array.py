"""One array of a feature store, read at the speed of the page cache where its shards can be mapped."""

from pathlib import Path
from typing import Any

import numpy as np
import zarr

from pipeline.errors import StoreError
from pipeline.features.layout import contiguous_chunks, shard_path


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
