"""One array of a feature store, read at the speed of the page cache where its shards can be mapped."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from pipeline.errors import StoreError
from pipeline.features.identity import FileIdentity, file_identity, held_identity, replaced, row_positions, row_range
from pipeline.features.layout import contiguous_chunks, shard_path
from pipeline.features.mapping import Mapping, can_map
from pipeline.features.memory import PIECE, aligned_empty, read_into

_LARGE_ROW = 16 << 10  # bytes
_PROBES = 4
_TRUSTED = 8  # batches that are not probed after one whose rows were all in memory


class FeatureArray:
    """One array of a store, (N, *row_shape).

    Shards whose chunks are uncompressed and in order are mapped into memory; anything else that Zarr can read is read
    by Zarr, at its speed. Rows come from the files that were opened, also after the store was replaced; what Zarr reads
    is refused then. It can be sent to another process of this machine, which opens it again.

    Attributes:
        shape: (N, *row_shape).
        dtype, stored_dtype: as stored.
        mapped: whether reads go straight to the shard files.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder.absolute(), name
        self._metadata = file_identity(folder / name / "zarr.json")
        self._array: Any = zarr.open_array(str(folder / name), mode="r")
        self.shape: tuple[int, ...] = tuple(self._array.shape)
        self.dtype: np.dtype[Any] = np.dtype(self._array.dtype)
        self.stored_dtype = self.dtype
        self._row_bytes = int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize
        self._shard_rows = int((self._array.shards or self._array.chunks)[0])
        self._where = f"{folder}/{name}"
        shards = _contiguous_shards(folder, name, self._array)
        self.mapped = shards is not None
        self._paths, padded = shards or ([], [])
        self._mapping: Mapping | None = None
        self._trusted = 0
        self._maps: list[np.ndarray] = []
        self._identities: list[FileIdentity] = []
        payload = self._shard_rows * self._row_bytes
        if self._paths and can_map(payload, len(self._paths)):
            self._mapping = Mapping(self._paths, payload, padded[-1] * self._row_bytes)
            self._identities = self._mapping.identities
            flat = np.asarray(self._mapping).view(self.dtype).reshape(-1, *self.shape[1:])
            self._maps = [flat[: self.shape[0]]]
        elif self._paths:
            for path, rows in zip(self._paths, padded, strict=True):
                with open(path, "rb") as file:
                    self._identities.append(held_identity(os.fstat(file.fileno())))
                    self._maps.append(np.memmap(file, dtype=self.dtype, mode="r", shape=(rows, *self.shape[1:])))

    def __len__(self) -> int:
        return self.shape[0]

    def view(self) -> np.ndarray:
        """The whole array (N, *row_shape) as read-only mapped memory: nothing is read before it is touched.

        Meant for single rows, or to read everything from a warm cache; use `take` or `read_range` if it may be cold.

        Raises:
            StoreError: its shards are not consecutive in memory; the message tells why.
        """
        if not self._paths and self.mapped:
            return np.empty(self.shape, self.dtype)
        if len(self._maps) == 1:
            return self._maps[0][: self.shape[0]]
        why = "its shards are not whole pages" if self.mapped else "its chunks are compressed or apart"
        raise StoreError(f"{self._where} cannot be viewed as one array: {why}. Read it with `take` or `read_range`.")

    def views(self) -> list[np.ndarray]:
        """The whole array as read-only mapped memory, in order: one part, or one for each shard; see `view`.

        Raises:
            StoreError: its chunks are compressed or apart.
        """
        if len(self._maps) < 2:
            return [self.view()]
        return [
            part[: self.shape[0] - number * self._shard_rows][: self._shard_rows]
            for number, part in enumerate(self._maps)
        ]

    def take(self, rows: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Copy of the given rows (n, *row_shape) in the stored dtype.

        Where they are not in the page cache, the kernel is asked for all of them at once before the first is touched.

        Args:
            rows: int64 positions, in any order, repeats allowed.
            out: (n, *row_shape) C-contiguous array of the stored dtype to fill; made if None.

        Raises:
            StoreError: a position is not an integer (a mask is none) or not in the array, or `out` does not fit.
        """
        rows = row_positions(rows, self.shape[0], self._where)
        out = self._output(len(rows), out)
        if not rows.size:
            return out
        if not self.mapped:
            self._by_zarr(out, lambda: self._array.oindex[rows])
        elif len(self._maps) == 1:
            if self._mapping is not None:
                self._warm(self._mapping, rows)
            np.take(self._maps[0], rows, axis=0, out=out, mode="clip")  # "raise" would buffer the output
        else:
            shards = rows // self._shard_rows
            for number in np.unique(shards):
                chosen = shards == number
                out[chosen] = self._maps[number][rows[chosen] - number * self._shard_rows]
        return out

    def read_range(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
        """Rows `start` to `stop` (stop - start, *row_shape), read in order from the shard files.

        Faster than touching mapped memory, which costs a page fault for every few pages.

        Args:
            out: as in `take`.

        Raises:
            StoreError: the range is not in the array, a shard is too short, or `out` does not fit.
        """
        start, stop = row_range(start, stop, self.shape[0], str(self._where))
        out = self._output(stop - start, out)
        if not self.mapped:
            self._by_zarr(out, lambda: self._array[start:stop])
            return out
        target = out.reshape(-1).view(np.uint8)
        piece = max(1, len(target)) if self._resident(start, stop) else PIECE
        row = start
        while row < stop:
            number, first = divmod(row, self._shard_rows)
            rows = min(stop - row, self._shard_rows - first)
            part = target[(row - start) * self._row_bytes : (row - start + rows) * self._row_bytes]
            if not _read(self._paths[number], self._identities[number], first * self._row_bytes, part, piece):
                held = self._maps[0][row : row + rows] if len(self._maps) == 1 else self._maps[number][first:][:rows]
                part[...] = held.reshape(-1).view(np.uint8)
            row += rows
        return out

    def __reduce__(self) -> tuple[Callable[..., "FeatureArray"], tuple[object, ...]]:
        return _reopened, (self._folder, self._name, self._metadata, tuple(self._identities))

    def __deepcopy__(self, memo: dict[int, Any]) -> "FeatureArray":
        return self  # it is never written

    def _by_zarr(self, out: np.ndarray, read: Callable[[], Any]) -> None:
        """Zarr opens files by their paths at every read; one that was replaced meanwhile is noticed afterwards."""
        try:
            out[...] = read()
        except Exception as error:  # codecs raise errors of many kinds for the bytes of another array
            if self._moved():
                raise replaced(self._where) from error
            raise
        if self._moved():
            raise replaced(self._where)

    def _moved(self) -> bool:
        return file_identity(self._folder / self._name / "zarr.json") != self._metadata

    def _output(self, rows: int, out: np.ndarray | None) -> np.ndarray:
        shape = (rows, *self.shape[1:])
        if out is None:
            return aligned_empty(shape, self.dtype)
        if not isinstance(out, np.ndarray):
            raise StoreError(f"`out` should be an array of {self.dtype} and shape {shape}, found {type(out).__name__}.")
        if out.shape != shape or out.dtype != self.dtype or not out.flags.c_contiguous:
            raise StoreError(
                f"`out` should be a C-contiguous {self.dtype} array of shape {shape}, found {out.dtype} {out.shape}."
            )
        return out

    def _resident(self, start: int, stop: int) -> bool:
        """Whether rows `start` to `stop` - 1 seem to be in the page cache, by the last and the one in the middle."""
        if self._mapping is None or start == stop:
            return False
        return all(self._mapping.resident(row * self._row_bytes) for row in (stop - 1, (start + stop) // 2))

    def _warm(self, mapping: Mapping, rows: np.ndarray) -> None:
        """Have the kernel fetch what is not in memory, together.

        Probing one row costs about a microsecond, affordable for each row only if rows are large. Of small rows a few
        are probed: if one is missing, all are fetched; if none is, the next batches are not probed.
        """
        size = self._row_bytes
        if size >= _LARGE_ROW:
            rows = rows[[not mapping.resident(row * size + size // 2) for row in rows.tolist()]]
        elif self._trusted > 0:
            self._trusted -= 1
            return
        elif all(mapping.resident(row * size) for row in rows[:: -(-len(rows) // _PROBES)].tolist()):
            self._trusted = _TRUSTED
            return
        mapping.will_need(rows * size, size)


def _reopened(
    folder: Path, name: str, metadata: FileIdentity | None, identities: Sequence[FileIdentity]
) -> FeatureArray:
    """The same array in another process."""
    array = FeatureArray(folder, name)
    if (array._metadata, tuple(array._identities)) != (metadata, identities):
        raise replaced(f"{folder}/{name}")
    return array


def _read(path: Path, identity: FileIdentity, offset: int, target: np.ndarray, piece: int) -> bool:
    """Fill `target` (n,) uint8 from the file, `piece` bytes a call; False if the path names another file by now."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        if held_identity(os.fstat(descriptor)) != identity:
            return False
        if read_into(descriptor, offset, target, piece) < len(target):
            raise StoreError(f"{path} is cut short. Restore it with: dvc checkout, or dvc repro")
        return True
    finally:
        os.close(descriptor)


def _contiguous_shards(folder: Path, name: str, array: Any) -> tuple[list[Path], list[int]] | None:
    """Shard files in order and the rows of each, padding included; None unless all are contiguous blocks of rows."""
    shape, shards, chunks = tuple(array.shape), array.shards, tuple(array.chunks)
    compressed = bool(array.compressors) or bool(array.filters)
    if shards is None or compressed or tuple(shards[1:]) != shape[1:] or chunks[1:] != shape[1:]:
        return None
    shard_rows, chunk_rows = int(shards[0]), int(chunks[0])
    chunk_bytes = chunk_rows * int(np.prod(shape[1:], dtype=np.int64)) * np.dtype(array.dtype).itemsize
    paths, padded = [], []
    for number in range(-(-shape[0] // shard_rows)):
        path = folder / shard_path(name, number, len(shape) - 1)
        rows = min(shard_rows, shape[0] - number * shard_rows)
        if not path.is_file():
            raise StoreError(f"{path} is missing: the store is incomplete. Restore it with: dvc checkout, or dvc repro")
        present = contiguous_chunks(path, shard_rows // chunk_rows, chunk_bytes)
        if present is None or present * chunk_rows < rows:
            return None
        paths.append(path)
        padded.append(present * chunk_rows)
    return paths, padded
