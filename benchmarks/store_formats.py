"""The formats that benchmarks/store.py compares: each writes one array (N, ...) of float16 and reads rows of it."""

import json
import mmap
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

Take = Callable[[np.ndarray, np.ndarray], None]
Ranges = Callable[[int, int, np.ndarray], None]


@dataclass(frozen=True)
class Reader:
    """Reads into a given array: `take(rows, out)` any rows, `read(start, stop, out)` rows in order."""

    take: Take
    read: Ranges


@dataclass(frozen=True)
class Format:
    """A way to keep an array. `limit` marks the bound of the machine itself, which is not a format."""

    write: Callable[[Path, np.ndarray, int], None]
    open: Callable[[Path], Reader]
    limit: bool = False


def _from_array(array: Any) -> Reader:
    """A reader of anything that is indexed like numpy."""

    def take(rows: np.ndarray, out: np.ndarray) -> None:
        out[...] = array[rows]

    def read(start: int, stop: int, out: np.ndarray) -> None:
        out[...] = array[start:stop]

    return Reader(take, read)


def _plain_write(folder: Path, values: np.ndarray, _: int) -> None:
    folder.mkdir(parents=True)
    (folder / "shape.json").write_text(json.dumps(values.shape))
    with open(folder / "data", "wb", buffering=0) as file:
        view = memoryview(values.reshape(-1).view(np.uint8))
        for start in range(0, len(view), 64 << 20):
            file.write(view[start : start + (64 << 20)])
        os.fsync(file.fileno())


def _memmap(folder: Path) -> np.memmap:
    shape = tuple(json.loads((folder / "shape.json").read_text()))
    return np.memmap(folder / "data", dtype=np.float16, mode="r", shape=shape)


def _plain_read(folder: Path, row_bytes: int) -> Ranges:
    file = open(folder / "data", "rb", buffering=0)  # noqa: SIM115 (lives as long as the reader)

    def read(start: int, _: int, out: np.ndarray) -> None:
        file.seek(start * row_bytes)
        target = memoryview(out.reshape(-1).view(np.uint8))
        done = 0
        while done < len(target):
            done += file.readinto(target[done:])

    return read


def _limit_memmap(folder: Path) -> Reader:
    values = _memmap(folder)
    row_bytes = values[0].nbytes
    return Reader(lambda rows, out: np.take(values, rows, axis=0, out=out), _plain_read(folder, row_bytes))


def _limit_willneed(folder: Path) -> Reader:
    values = _memmap(folder)
    row_bytes = values[0].nbytes
    pages: Any = values._mmap
    pages.madvise(mmap.MADV_RANDOM)

    def take(rows: np.ndarray, out: np.ndarray) -> None:
        for row in np.sort(rows).tolist():
            start = row * row_bytes // mmap.PAGESIZE * mmap.PAGESIZE
            pages.madvise(mmap.MADV_WILLNEED, start, min(row_bytes + mmap.PAGESIZE, len(pages) - start))
        np.take(values, rows, axis=0, out=out)

    def read(start: int, stop: int, out: np.ndarray) -> None:
        pages.madvise(mmap.MADV_WILLNEED)
        out[...] = values[start:stop]

    return Reader(take, read)


def _limit_preadv(folder: Path) -> Reader:
    row_bytes = _memmap(folder)[0].nbytes
    descriptor = os.open(folder / "data", os.O_RDONLY)
    pool = ThreadPoolExecutor(8)

    def take(rows: np.ndarray, out: np.ndarray) -> None:
        target = memoryview(out.reshape(-1).view(np.uint8))

        def part(first: int) -> None:
            for place in range(first, len(rows), 8):
                row = target[place * row_bytes : (place + 1) * row_bytes]
                os.preadv(descriptor, [row], int(rows[place]) * row_bytes)

        list(pool.map(part, range(8)))

    def read(start: int, _: int, out: np.ndarray) -> None:
        target = memoryview(out.reshape(-1).view(np.uint8))
        step = -(-len(target) // 8)

        def part(first: int) -> None:
            done = first
            while done < min(first + step, len(target)):
                done += os.preadv(descriptor, [target[done : min(first + step, len(target))]], start * row_bytes + done)

        list(pool.map(part, range(0, len(target), step)))

    return Reader(take, read)


@cache
def row_ids(rows: int) -> list[str]:
    """An id for each row, made once."""
    return [f"{row:08d}" for row in range(rows)]


def _store_write(folder: Path, values: np.ndarray, shard_rows: int) -> None:
    from pipeline.features import ArraySpec, Fingerprint
    from pipeline.features.publish import publish
    from pipeline.features.shards import ShardWriter

    spec = ArraySpec("cls", values.shape[1:], "float16")
    ids = row_ids(len(values))
    with ThreadPoolExecutor(1) as beside:  # as the encode loop writes
        finished = []
        for start in range(0, len(values), shard_rows):
            part = slice(start, start + shard_rows)
            with ShardWriter(folder / "scratch", [spec], ids[part], shard_rows) as writer:
                writer.append({"cls": values[part]}, [None] * len(ids[part]))
                finished.append(writer.finish_in_background(beside))
        shards = [shard.result() for shard in finished]
    publish(folder / "store", Fingerprint({"benchmark": 1}), [spec], shards, shard_rows, {})


def _store_open(folder: Path) -> Reader:
    from pipeline.features import FeatureStore

    array = FeatureStore.open(folder / "store").array("cls")
    return Reader(lambda rows, out: array.take(rows, out=out), lambda a, b, out: array.read_range(a, b, out=out))


def _zarr_open(folder: Path) -> Reader:
    import zarr

    array = zarr.open_array(str(folder / "store" / "cls"), mode="r")

    def take(rows: np.ndarray, out: np.ndarray) -> None:
        out[...] = array.oindex[rows]

    def read(start: int, stop: int, out: np.ndarray) -> None:
        out[...] = array[start:stop]

    return Reader(take, read)


def _zarrs_open(folder: Path) -> Reader:
    import zarr
    import zarrs  # noqa: F401

    zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})
    return _zarr_open(folder)


def _zarr_write(folder: Path, values: np.ndarray, shard_rows: int) -> None:
    import zarr

    chunk = max(1, (1 << 20) // values[0].nbytes)
    chunk = max(rows for rows in range(1, chunk + 1) if shard_rows % rows == 0)
    array = zarr.create_array(
        store=str(folder / "store" / "cls"),
        shape=values.shape,
        dtype="float16",
        chunks=(chunk, *values.shape[1:]),
        shards=(shard_rows, *values.shape[1:]),
        compressors=None,
    )
    for start in range(0, len(values), shard_rows):
        array[start : start + shard_rows] = values[start : start + shard_rows]
    _sync(folder)


def _tensorstore_open(folder: Path) -> Reader:
    import tensorstore

    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(folder / "store" / "cls")}}
    array = tensorstore.open(spec, read=True).result()

    def take(rows: np.ndarray, out: np.ndarray) -> None:
        out[...] = array[rows].read().result()

    def read(start: int, stop: int, out: np.ndarray) -> None:
        out[...] = array[start:stop].read().result()

    return Reader(take, read)


def _h5_write(folder: Path, values: np.ndarray, _: int) -> None:
    import h5py

    folder.mkdir(parents=True)
    rows = max(1, (1 << 20) // values[0].nbytes)
    with h5py.File(folder / "data.h5", "w") as file:
        file.create_dataset("cls", data=values, chunks=(min(rows, len(values)), *values.shape[1:]))
    _sync(folder)


def _h5_open(folder: Path) -> Reader:
    import h5py

    array = h5py.File(folder / "data.h5", "r")["cls"]

    def take(rows: np.ndarray, out: np.ndarray) -> None:
        unique, back = np.unique(rows, return_inverse=True)  # h5py wants rising rows without repeats
        out[...] = array[unique][back]

    def read(start: int, stop: int, out: np.ndarray) -> None:
        array.read_direct(out, np.s_[start:stop])

    return Reader(take, read)


def _datasets_write(folder: Path, values: np.ndarray, shard_rows: int) -> None:
    import datasets
    import pyarrow as pa

    width = int(np.prod(values.shape[1:]))
    kind = datasets.Features({"row": datasets.Sequence(datasets.Value("float16"), length=width)})

    def table(part: np.ndarray) -> pa.Table:
        return pa.table({"row": pa.FixedSizeListArray.from_arrays(pa.array(part.reshape(-1)), width)})

    tables = [table(values[start : start + shard_rows]) for start in range(0, len(values), shard_rows)]
    dataset = datasets.Dataset(datasets.table.InMemoryTable(pa.concat_tables(tables).cast(kind.arrow_schema)))
    dataset.save_to_disk(str(folder / "data"))
    (folder / "shape.json").write_text(json.dumps(values.shape))
    _sync(folder)


def _datasets_open(folder: Path) -> Reader:
    import datasets

    dataset = datasets.load_from_disk(str(folder / "data")).with_format("numpy")

    def take(rows: np.ndarray, out: np.ndarray) -> None:
        out.reshape(len(out), -1)[...] = dataset[rows]["row"]

    def read(start: int, stop: int, out: np.ndarray) -> None:
        out.reshape(len(out), -1)[...] = dataset[start:stop]["row"]

    return Reader(take, read)


def _lance_write(folder: Path, values: np.ndarray, shard_rows: int) -> None:
    import lance
    import pyarrow as pa

    width = int(np.prod(values.shape[1:]))
    schema = pa.schema([("row", pa.list_(pa.float16(), width))])

    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(0, len(values), shard_rows):
            part = pa.array(values[start : start + shard_rows].reshape(-1))
            yield pa.record_batch([pa.FixedSizeListArray.from_arrays(part, width)], schema=schema)

    lance.write_dataset(batches(), str(folder / "data.lance"), schema=schema)
    _sync(folder)


def _lance_open(folder: Path) -> Reader:
    import lance

    dataset = lance.dataset(str(folder / "data.lance"))

    def flat(table: Any) -> np.ndarray:
        return table.column("row").combine_chunks().flatten().to_numpy(zero_copy_only=False)

    def take(rows: np.ndarray, out: np.ndarray) -> None:
        out.reshape(-1)[...] = flat(dataset.take(rows.tolist()))

    def read(start: int, stop: int, out: np.ndarray) -> None:
        out.reshape(-1)[...] = flat(dataset.to_table(offset=start, limit=stop - start))

    return Reader(take, read)


def _safetensors_write(folder: Path, values: np.ndarray, _: int) -> None:
    from safetensors.numpy import save_file

    folder.mkdir(parents=True)
    save_file({"cls": values}, str(folder / "data.safetensors"))
    _sync(folder)


def _safetensors_open(folder: Path) -> Reader:
    from safetensors import safe_open

    array = safe_open(str(folder / "data.safetensors"), framework="np").get_slice("cls")

    def take(rows: np.ndarray, out: np.ndarray) -> None:  # it has slices only
        for place, row in enumerate(rows.tolist()):
            out[place] = array[row : row + 1][0]

    def read(start: int, stop: int, out: np.ndarray) -> None:
        out[...] = array[start:stop]

    return Reader(take, read)


def _npy_write(folder: Path, values: np.ndarray, shard_rows: int) -> None:
    folder.mkdir(parents=True)
    flat = values.reshape(len(values), -1)
    for number, start in enumerate(range(0, len(values), shard_rows)):
        np.save(folder / f"{number:05d}.npy", flat[start : start + shard_rows])
    _sync(folder)


def _embedding_reader_open(folder: Path) -> Reader:
    from embedding_reader import EmbeddingReader

    reader = EmbeddingReader(embeddings_folder=str(folder), file_format="npy")

    def read(start: int, stop: int, out: np.ndarray) -> None:
        place, flat = 0, out.reshape(len(out), -1)
        for part, _ in reader(batch_size=stop - start, start=start, end=stop, show_progress=False):
            flat[place : place + len(part)] = part
            place += len(part)

    def take(rows: np.ndarray, out: np.ndarray) -> None:
        raise NotImplementedError("embedding-reader reads in order only")

    return Reader(take, read)


def _sync(folder: Path) -> None:
    """Make all files below a folder durable."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)


FORMATS = {
    "this store": Format(_store_write, _store_open),
    "zarr-python": Format(_zarr_write, _zarr_open),
    "zarr-python + zarrs": Format(_zarr_write, _zarrs_open),
    "tensorstore": Format(_zarr_write, _tensorstore_open),
    "h5py": Format(_h5_write, _h5_open),
    "datasets (Arrow)": Format(_datasets_write, _datasets_open),
    "Lance": Format(_lance_write, _lance_open),
    "safetensors": Format(_safetensors_write, _safetensors_open),
    "embedding-reader (npy)": Format(_npy_write, _embedding_reader_open),
    "limit: take of memmap, readinto": Format(_plain_write, _limit_memmap, limit=True),
    "limit: WILLNEED": Format(_plain_write, _limit_willneed, limit=True),
    "limit: preadv, 8 threads": Format(_plain_write, _limit_preadv, limit=True),
}
