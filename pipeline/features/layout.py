"""The layout of rows on disk: a Zarr v3 group whose uncompressed shards can be mapped straight into memory.

A shard file is its inner chunks one after another, then the index that Zarr's sharding codec defines: per inner chunk
the offset and length as little-endian uint64, then the CRC-32C of that index. Inner chunks span all trailing axes, so
the payload is one contiguous block of rows. Chunks past the last row are absent: 2^64-1 in both fields.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import zarr
from zarr.codecs import BytesCodec, Crc32cCodec, ShardingCodec
from zarr.storage import MemoryStore

ABSENT = np.uint64(2**64 - 1)
_TARGET_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class ArraySpec:
    """One array of a store.

    Attributes:
        name: `cls`, `mean`, `grid` or `patch` of images, `pooled`, `truncated` or `tokens` of texts, `cls`, `mean`,
            `grid` or `tokens` of sounds, or `valid`.
        row_shape: shape of one row: (L, D) of kept layers, (P, D) of regions or patches, (D,) or (T, D) of texts at
            full length or at T truncations; of a ragged array that of one token.
        dtype: numpy name, `float16`, `float32`, `int8`, `int32` or `bool`.
        most: tokens that a row may have where their number varies; 0 for an ordinary array, one token per row.
    """

    name: str
    row_shape: tuple[int, ...]
    dtype: str
    most: int = 0

    @property
    def row_bytes(self) -> int:
        """Size of one row in bytes."""
        return prod(self.row_shape) * np.dtype(self.dtype).itemsize

    @property
    def fill(self) -> float | int | bool:
        """The value where there is no feature: NaN, or 0 or False in a dtype without NaN."""
        kind = np.dtype(self.dtype).kind
        return float("nan") if kind == "f" else False if kind == "b" else 0

    @property
    def ragged(self) -> bool:
        """Whether rows have a varying number of tokens."""
        return self.most > 0

    @property
    def sample_bytes(self) -> int:
        """The most that one sample takes, in bytes."""
        return self.row_bytes * max(1, self.most)

    def chunking(self, shard_rows: int, rows: int) -> tuple[int, int]:
        """Rows (tokens of a ragged array) of an inner chunk, and how many chunks the shard has room for.

        Args:
            rows: how many the shard holds; a ragged shard has room for no more.
        """
        if not self.ragged:
            chunk = self.chunk_rows(shard_rows)
            return chunk, shard_rows // chunk
        chunk = max(1, min(rows, _TARGET_CHUNK_BYTES // max(1, self.row_bytes)))
        return chunk, max(1, -(-rows // chunk))

    def shard_path(self, number: int) -> str:
        """Path of a shard inside the store."""
        return shard_path(self.name, number, len(self.row_shape), self.ragged)

    def chunk_rows(self, shard_rows: int) -> int:
        """Rows of an inner chunk: the divisor of `shard_rows` nearest below about 1 MiB."""
        most = min(shard_rows, max(1, _TARGET_CHUNK_BYTES // max(1, self.row_bytes)))
        return next(rows for rows in range(most, 0, -1) if shard_rows % rows == 0)

    def stored_bytes(self, rows: int, shard_rows: int) -> int:
        """Size on disk of `rows` rows, without metadata; at most that for a ragged array."""
        if self.ragged:
            return rows * self.sample_bytes
        chunk = self.chunk_rows(shard_rows)
        shards = -(-rows // shard_rows)
        return -(-rows // chunk) * chunk * self.row_bytes + shards * (16 * (shard_rows // chunk) + 4)


def shard_path(name: str, number: int, row_rank: int, ragged: bool = False) -> str:
    """Path of a shard inside its group, as Zarr's default chunk-key encoding names it.

    The shards of a ragged array are arrays of their own, of one shard each.
    """
    array, shard = (f"{name}/{number}", "0") if ragged else (name, str(number))
    return "/".join([array, "c", shard, *["0"] * row_rank])


def recorded_shard_path(metadata_of: Callable[[str], dict[str, Any]], name: str, number: int) -> str:
    """Path of a shard inside a store, according to the Zarr metadata of its array.

    Args:
        metadata_of: the content of a zarr.json inside the store, by its path there.
    """
    metadata = metadata_of(f"{name}/zarr.json")
    ragged = metadata["node_type"] == "group"
    if ragged:
        metadata = metadata_of(f"{name}/{number}/zarr.json")
    return shard_path(name, number, len(metadata["shape"]) - 1, ragged)


def index_bytes(chunks: int, present: int, chunk_bytes: int) -> bytes:
    """The index of a shard of `chunks` inner chunks of which the first `present` are stored in order."""
    index = np.full((chunks, 2), ABSENT, dtype="<u8")
    index[:present, 0] = np.arange(present, dtype=np.uint64) * np.uint64(chunk_bytes)
    index[:present, 1] = chunk_bytes
    encoded = index.tobytes()
    checksum: int = google_crc32c.value(encoded)
    return encoded + checksum.to_bytes(4, "little")


def contiguous_chunks(path: Path, chunks: int, chunk_bytes: int) -> int | None:
    """How many inner chunks are stored in order from the start of the shard file, or None if they are not in order.

    Reads only the index at the end of the file.
    """
    size = path.stat().st_size
    length = 16 * chunks + 4
    if size < length:
        return None
    with open(path, "rb") as file:
        file.seek(size - length)
        encoded = file.read(length)
    if google_crc32c.value(encoded[:-4]) != int.from_bytes(encoded[-4:], "little"):
        return None
    index = np.frombuffer(encoded[:-4], dtype="<u8").reshape(chunks, 2)
    present = int((index[:, 0] != ABSENT).sum())
    if size != present * chunk_bytes + length or encoded != index_bytes(chunks, present, chunk_bytes):
        return None
    return present


def create_group(
    folder: Path,
    specs: list[ArraySpec],
    rows: int,
    shard_rows: int,
    attributes: dict[str, Any],
    tokens: Mapping[str, Sequence[int]] | None = None,
) -> None:
    """Write the metadata of a store: the group and its arrays, with no shard yet.

    Args:
        tokens: per ragged array, how many tokens each shard holds.
    """
    files: dict[str, Any] = {}  # Zarr writes into memory, as it needs hard links to write metadata into a folder
    group = zarr.create_group(store=MemoryStore(files), attributes=attributes, overwrite=False)
    for spec in specs:
        if not spec.ragged:
            _create_array(group, spec.name, spec, rows, spec.chunk_rows(shard_rows), shard_rows)
            continue
        shards = group.create_group(spec.name)
        for number, count in enumerate((tokens or {})[spec.name]):
            chunk, chunks = spec.chunking(shard_rows, count)
            _create_array(shards, str(number), spec, count, chunk, chunk * chunks)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "xb") as file:
            file.write(content.to_bytes())


def _create_array(group: zarr.Group, name: str, spec: ArraySpec, rows: int, chunk: int, shard: int) -> None:
    codec = ShardingCodec(
        chunk_shape=(chunk, *spec.row_shape),
        codecs=[BytesCodec(endian="little")],
        index_codecs=[BytesCodec(endian="little"), Crc32cCodec()],
        index_location="end",
    )
    group.create_array(
        name,
        shape=(rows, *spec.row_shape),
        dtype=spec.dtype,
        chunks=(shard, *spec.row_shape),
        serializer=codec,
        compressors=None,
        filters=None,
        fill_value=spec.fill,
    )


def fsync_folder(folder: Path) -> None:
    """Make renames and new names inside `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
