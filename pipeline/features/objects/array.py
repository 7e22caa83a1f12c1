"""One array of a remote store: rows come from shard files in the local cache, which is filled as they are read."""

import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from pipeline.errors import StoreError
from pipeline.features.identity import row_positions
from pipeline.features.layout import shard_path
from pipeline.features.memory import aligned_empty, read_into
from pipeline.features.objects.shards import RemoteShards

_AHEAD = 3  # shards that are fetched while one is read in order


class RemoteArray:
    """One array of a store on an object store, (N, *row_shape); see `FeatureArray`, whose part it takes.

    Args:
        folder: of the store's metadata.
        name: of the array.
        shards: of the store.

    Attributes:
        shape: (N, *row_shape).
        dtype, stored_dtype: as stored.
        mapped: always True: reads go straight to the shard files once they are here.

    Raises:
        StoreError: its chunks are compressed or apart, or its shards are not those of the manifest.
    """

    mapped = True

    def __init__(self, folder: Path, name: str, shards: RemoteShards) -> None:
        array: Any = zarr.open_array(str(folder / name), mode="r")
        self.shape: tuple[int, ...] = tuple(array.shape)
        self.dtype: np.dtype[Any] = np.dtype(array.dtype)
        self.stored_dtype = self.dtype
        self._folder, self._name, self._shards = folder, name, shards
        self._where = f"{shards.url}/{name}"
        self._row_bytes = int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize
        plain = array.shards is not None and not array.compressors and not array.filters
        if not plain or tuple(array.shards[1:]) != self.shape[1:] or tuple(array.chunks[1:]) != self.shape[1:]:
            raise StoreError(f"{self._where} cannot be read from afar: its chunks are compressed or apart.")
        self._shard_rows = int(array.shards[0])
        self._paths = [
            f"{name}/{shard_path(name, number, len(self.shape) - 1).removeprefix(f'{name}/')}"
            for number in range(-(-self.shape[0] // self._shard_rows))
        ]
        index = 16 * (self._shard_rows // int(array.chunks[0])) + 4
        for number, path in enumerate(self._paths):
            rows = min(self._shard_rows, self.shape[0] - number * self._shard_rows)
            record = shards.records.get(path)
            if record is None or record.bytes < rows * self._row_bytes + index:
                raise StoreError(
                    f"{self._where}: the manifest lists no shard {number} of {rows} rows ({path}). Push the store "
                    "again."
                )
        self._last = -2  # the shard that was read last

    def __len__(self) -> int:
        return self.shape[0]

    def view(self) -> np.ndarray:
        """Raises StoreError: not all of it is on this machine."""
        raise StoreError(
            f"{self._where} cannot be viewed as one array: it is remote. Read it with `take` or `read_range`."
        )

    def take(self, rows: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Copy of the given rows (n, *row_shape) in the stored dtype; arguments as `FeatureArray.take`.

        Raises:
            StoreError: a position is not an integer or not in the array, or `out` does not fit.
            RemoteError: a shard cannot be fetched, or is damaged.
        """
        rows = row_positions(rows, self.shape[0], self._where)
        out = self._output(len(rows), out)
        numbers = rows // self._shard_rows
        wanted = np.unique(numbers)
        for place, number in enumerate(wanted.tolist()):
            self._expect(number, wanted[place + 1 : place + 1 + _AHEAD].tolist())
            chosen = np.flatnonzero(numbers == number)
            inside = rows[chosen] - number * self._shard_rows
            with self._mapped(number) as held:
                if chosen[-1] - chosen[0] + 1 == len(chosen):
                    np.take(held, inside, axis=0, out=out[chosen[0] : chosen[-1] + 1], mode="clip")
                else:
                    out[chosen] = held[inside]
                del held
        return out

    def read_range(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
        """Rows `start` to `stop` (stop - start, *row_shape), in order; arguments as `FeatureArray.read_range`.

        Raises:
            StoreError: the range is not in the array, or `out` does not fit.
            RemoteError: a shard cannot be fetched, or is damaged.
        """
        if not 0 <= start <= stop <= self.shape[0]:
            raise StoreError(f"{self._where} has rows 0 to {self.shape[0]}, asked for {start} to {stop}.")
        out = self._output(stop - start, out)
        target = out.reshape(-1).view(np.uint8)
        row = start
        while row < stop:
            number, first = divmod(row, self._shard_rows)
            rows = min(stop - row, self._shard_rows - first)
            self._expect(number, range(number + 1, -(-stop // self._shard_rows)))
            part = target[(row - start) * self._row_bytes : (row - start + rows) * self._row_bytes]
            descriptor = self._shards.opened(self._paths[number])
            try:
                read = read_into(descriptor, first * self._row_bytes, part, max(1, len(part)))
            finally:
                os.close(descriptor)
            assert read == len(part), "the cache checks sizes"
            row += rows
        return out

    def _expect(self, number: int, wanted: Iterator[int] | list[int] | range) -> None:
        """Before a shard is read: begin to fetch those wanted after it, and in an order that goes on, the next ones."""
        following = list(wanted)[:_AHEAD]
        if number in (self._last, self._last + 1) or number == 0:
            following += [later for later in range(number + 1, number + 1 + _AHEAD) if later not in following]
        self._last = number
        self._shards.ahead(self._paths[later] for later in following[:_AHEAD] if later < len(self._paths))

    @contextmanager
    def _mapped(self, number: int) -> Iterator[np.ndarray]:
        """A shard's rows (n, *row_shape), padding included, while they are read."""
        descriptor = self._shards.opened(self._paths[number])
        try:
            rows = min(self._shard_rows, self.shape[0] - number * self._shard_rows)
            if not rows * self._row_bytes:
                yield np.empty((rows, *self.shape[1:]), self.dtype)
                return
            content = mmap.mmap(descriptor, rows * self._row_bytes, prot=mmap.PROT_READ)
            yield np.frombuffer(content, self.dtype).reshape(rows, *self.shape[1:])  # unmapped with its last view
        finally:
            os.close(descriptor)

    def _output(self, rows: int, out: np.ndarray | None) -> np.ndarray:
        shape = (rows, *self.shape[1:])
        if out is None:
            return aligned_empty(shape, self.dtype)
        if out.shape != shape or out.dtype != self.dtype or not out.flags.c_contiguous:
            raise StoreError(
                f"`out` should be a C-contiguous {self.dtype} array of shape {shape}, found {out.dtype} {out.shape}."
            )
        return out

    def __reduce__(self) -> tuple[Callable[..., "RemoteArray"], tuple[object, ...]]:
        return _reopened, (self._folder.absolute(), self._name, self._shards.url)

    def __deepcopy__(self, memo: dict[int, Any]) -> "RemoteArray":
        return self  # it is never written


def _reopened(folder: Path, name: str, url: str) -> RemoteArray:
    """The same array in another process; what its manifest lists it checks itself."""
    return RemoteArray(folder, name, RemoteShards(folder, url))
