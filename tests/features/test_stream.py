"""The block shuffle against what a shuffle must do, and the stream against slow reading of the same rows."""

import ctypes
import gc
import mmap
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import StoreError
from pipeline.features import FeatureStore
from pipeline.features.ahead import ahead
from pipeline.features.shuffle import BlockShuffle, batch_sizes
from pipeline.features.span import Span
from pipeline.features.stream import Side, StreamedBatch, read_sorted, stream, window_blocks
from tests.features.stores import normal, write_store


class Table:
    """Rows in memory that note how they were read; reading row `broken` fails."""

    def __init__(self, values: np.ndarray, broken: int = -1) -> None:
        self.values, self.broken = values, broken
        self.shape, self.dtype = values.shape, values.dtype
        self.ranges: list[tuple[int, int]] = []
        self.taken: list[int] = []

    def take(self, rows: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        self.taken += rows.tolist()
        return self._give(self.values[rows], rows, out)

    def read_range(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
        self.ranges.append((start, stop))
        return self._give(self.values[start:stop], np.arange(start, stop), out)

    def _give(self, values: np.ndarray, rows: np.ndarray, out: np.ndarray | None) -> np.ndarray:
        if self.broken in rows:
            raise StoreError("shard 3 is gone")
        if out is None:
            return values.copy()
        out[...] = values
        return out


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "read-ahead"]


@given(st.integers(0, 400), st.integers(1, 50), st.integers(1, 9), st.integers(1, 64), st.integers(0, 3))
def test_every_row_comes_once_and_batches_are_equal(rows: int, block: int, window: int, size: int, epoch: int) -> None:
    shuffle = BlockShuffle(rows, block, window)
    batches = list(shuffle.batches(size, seed=1, epoch=epoch))
    assert sorted(np.concatenate([[], *batches]).tolist()) == list(range(rows))
    sizes = [len(batch) for batch in batches]
    assert sizes == batch_sizes(rows, size)
    assert len(sizes) == -(-rows // size)
    assert max(sizes, default=0) <= size
    assert max(sizes, default=0) - min(sizes, default=0) <= 1
    assert all(len(part) <= shuffle.window_rows for part in shuffle.windows(1, epoch))


@given(st.integers(60, 400), st.integers(1, 20), st.integers(1, 9))
def test_the_order_is_fixed_by_seed_and_epoch(rows: int, block: int, window: int) -> None:
    shuffle = BlockShuffle(rows, block, window)

    def order(seed: int, epoch: int) -> list[int]:
        return np.concatenate(list(shuffle.windows(seed, epoch))).tolist()

    assert order(3, 1) == order(3, 1)
    assert len({tuple(order(seed, epoch)) for seed in (3, 4) for epoch in (1, 2)}) == 4


def test_windows_are_made_of_whole_blocks_that_lie_elsewhere_in_another_epoch() -> None:
    shuffle = BlockShuffle(1000, 10, 7)
    borders = []
    for epoch in range(4):
        found = set()
        for window in shuffle.windows(0, epoch):
            ordered = np.sort(window)
            starts = ordered[np.flatnonzero(np.diff(ordered, prepend=-2) != 1)]
            ends = ordered[np.flatnonzero(np.diff(ordered, append=1002) != 1)] + 1
            assert len(starts) <= 7
            found |= {start % 10 for start in starts.tolist() if start} | {
                end % 10 for end in ends.tolist() if end < 1000
            }
        assert len(found) == 1  # every border of the epoch is at the same place of ten
        borders.append(found.pop())
    assert len(set(borders)) > 1


def test_one_window_is_a_full_permutation() -> None:
    """Over many epochs every row comes to every tenth of the order equally often."""
    shuffle = BlockShuffle(40, 8, 6)
    places = np.zeros((40, 10))
    for epoch in range(2000):
        (order,) = shuffle.windows(5, epoch)
        places[order, np.arange(40) // 4] += 1
    assert np.abs(places / 200 - 1).max() < 0.35


@pytest.mark.parametrize("shape", [(-1, 1, 1), (5, 0, 1), (5, 1, 0)])
def test_a_senseless_shuffle_is_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="block >= 1 and window >= 1, found"):
        BlockShuffle(*shape)


def test_items_are_made_ahead_but_no_further_than_asked() -> None:
    made: list[int] = []
    reached = threading.Event()

    def numbers() -> Iterator[int]:
        for number in range(10):
            made.append(number)
            if len(made) == 4:
                reached.set()
            yield number

    items = ahead(numbers(), depth=3)
    assert next(items) == 0
    assert reached.wait(10)  # 0 is in use, 1 to 3 wait
    assert made == [0, 1, 2, 3]
    assert list(items) == list(range(1, 10))
    assert not threads()


def test_stopping_early_ends_the_thread_and_closes_what_it_read() -> None:
    closed = threading.Event()

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    items = ahead(endless(), depth=2)
    next(items)
    assert threads()
    items.close()
    assert closed.is_set()
    assert not threads()
    dropped = ahead(ahead(endless(), depth=1), depth=2)
    next(dropped)
    del dropped
    gc.collect()
    assert not threads()


def test_an_error_comes_where_the_item_would_have_come() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise StoreError("shard 3 is gone")

    items = ahead(failing(), depth=5)
    assert next(items) == 1
    with pytest.raises(StoreError, match="shard 3 is gone"):
        next(items)
    assert not threads()
    with pytest.raises(ValueError, match="depth is at least 1"):
        next(ahead([1], depth=0))


def sides(seed: int, pairs: int) -> tuple[list[Side], list[np.ndarray]]:
    """Images in two stores and captions in one; rows repeat, and some are in no pair."""
    generator = np.random.default_rng(seed)
    parts = [generator.normal(size=(rows, 3, 2)).astype(np.float16) for rows in (70, 50)]
    cls = [generator.normal(size=(rows, 4)).astype(np.float32) for rows in (70, 50)]
    texts = generator.normal(size=(40, 5)).astype(np.float16)
    image_rows, text_rows = np.sort(generator.integers(0, 120, pairs)), generator.integers(0, 40, pairs)
    images = Side(image_rows, (Span([Table(part) for part in cls]), Span([Table(part) for part in parts])))
    expected = [np.concatenate(cls)[image_rows], np.concatenate(parts)[image_rows], texts[text_rows]]
    return [images, Side(text_rows, (Table(texts),))], expected


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 200), st.integers(1, 30), st.integers(1, 5), st.integers(1, 40))
def test_streamed_rows_are_those_of_their_pairs(pairs: int, block: int, window: int, size: int) -> None:
    both, expected = sides(0, pairs)
    shuffle = BlockShuffle(pairs, block, window)
    batches = list(stream(both, shuffle, size, seed=2, epoch=3))
    orders = list(shuffle.batches(size, seed=2, epoch=3))
    assert len(batches) == len(orders)
    for batch, order in zip(batches, orders, strict=True):
        np.testing.assert_array_equal(batch.pairs, order)
        for found, wanted in zip([*batch.sides[0], *batch.sides[1]], expected, strict=True):
            np.testing.assert_array_equal(found, wanted[order])
            assert found.dtype == wanted.dtype


def test_batches_keep_their_rows_while_others_are_read() -> None:
    """The buffers of the windows are used again; what was handed out must not change."""
    both, expected = sides(1, 200)
    batches = stream(both, BlockShuffle(200, 5, 2), 7, seed=0, epoch=0)
    for batch in batches:
        before = batch.sides[0][0].copy()
        threading.Event().wait(0.002)  # let the reader run ahead as far as it may
        np.testing.assert_array_equal(batch.sides[0][0], before)
        np.testing.assert_array_equal(batch.sides[0][0], expected[0][batch.pairs])


def test_a_block_is_read_in_one_go_and_no_row_twice_in_a_window() -> None:
    table, texts = Table(np.arange(1000)), Table(np.arange(9))
    both = [Side(np.arange(1000), (table,)), Side(np.arange(1000) % 9, (texts,))]
    list(stream(both, BlockShuffle(1000, 50, 4), 64, seed=0, epoch=0))
    assert not table.taken
    assert sum(stop - start for start, stop in table.ranges) == 1000
    assert len(table.ranges) <= 21
    assert len(texts.taken) == 6 * 9  # six windows, nine captions


@given(st.lists(st.integers(0, 99), unique=True).map(sorted))
def test_sorted_rows_are_read_whether_in_runs_or_apart(rows: list[int]) -> None:
    table = Table(np.arange(200).reshape(100, 2))
    out = np.empty((len(rows), 2), dtype=int)
    np.testing.assert_array_equal(read_sorted(table, np.array(rows, dtype=np.int64), out), table.values[rows])


def test_an_error_of_the_reader_reaches_the_consumer_and_no_thread_is_left() -> None:
    both = [Side(np.arange(300), (Table(np.arange(300), broken=7),))]
    with pytest.raises(StoreError, match="shard 3 is gone"):
        list(stream(both, BlockShuffle(300, 10, 2), 20, seed=0, epoch=0))
    assert not threads()


def test_a_consumer_that_stops_leaves_no_thread() -> None:
    both, _ = sides(0, 200)
    batches = stream(both, BlockShuffle(200, 5, 2), 10, seed=0, epoch=0)
    next(batches)
    batches.close()
    assert not threads()


def test_sides_of_other_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="names 5 rows for 6 pairs"):
        stream([Side(np.arange(5), (Table(np.arange(5)),))], BlockShuffle(6, 2, 2), 2, seed=0, epoch=0)


def test_windows_fit_the_memory_that_they_are_given() -> None:
    both = [Side(np.arange(9), (Table(np.zeros((9, 50), np.float16)), Table(np.zeros((9, 25), np.float32))))]
    assert window_blocks(both, block=10, memory=2 * 10 * 200 * 7 + 5) == 7
    assert window_blocks(both, block=10, memory=1) == 1


def test_several_arrays_as_one_refuse_what_they_do_not_hold() -> None:
    span = Span([Table(np.arange(4)), Table(np.arange(4, 6)), Table(np.arange(6, 6)), Table(np.arange(6, 9))])
    assert span.read_range(2, 8).tolist() == [2, 3, 4, 5, 6, 7]
    assert span.take(np.array([8, 0, 5, 3, 5])).tolist() == [8, 0, 5, 3, 5]
    with pytest.raises(StoreError, match="has rows 0 to 8, asked for -1 to 3"):
        span.take(np.array([3, -1]))
    with pytest.raises(StoreError, match="asked for 3 to 10"):
        span.read_range(3, 10)
    with pytest.raises(StoreError, match=r"differ: rows of shape \(\) in int64, and of shape \(2,\) in int64"):
        Span([Table(np.arange(4)), Table(np.zeros((3, 2), np.int64))])


def checksum(folder: Path, seed: int) -> tuple[int, float]:
    """What one process gets from an epoch: how many rows, and a sum that depends on which value belongs to which."""
    array: Any = FeatureStore.open(folder).array("cls")
    both = [Side(np.arange(len(array)), (array,))]
    rows, total = 0, 0.0
    for batch in stream(both, BlockShuffle(len(array), 16, 3), 32, seed=seed, epoch=0):
        rows += len(batch.pairs)
        total += float((batch.sides[0][0].astype(np.float64).sum(axis=(1, 2)) * (batch.pairs + 1)).sum())
    return rows, total


def test_many_processes_stream_one_store_at_once(tmp_path: Path) -> None:
    values = normal(300, 2, 5)
    folder = write_store(tmp_path, {"cls": values}, 64)
    stored = values.astype(np.float64)
    expected = float((stored.sum(axis=(1, 2)) * np.arange(1, 301)).sum())
    with ProcessPoolExecutor(3, mp_context=get_context("spawn")) as pool:
        found = list(pool.map(checksum, [folder] * 6, range(6)))
    assert [rows for rows, _ in found] == [300] * 6
    assert [total for _, total in found] == pytest.approx([expected] * 6, rel=1e-9)


def pages_in_memory(path: Path) -> int:
    """How many pages of a file the page cache holds."""
    mapped = np.memmap(path, dtype=np.uint8, mode="r")
    flags = np.zeros(-(-mapped.size // mmap.PAGESIZE), dtype=np.uint8)
    library = ctypes.CDLL(None, use_errno=True)
    found = library.mincore(
        ctypes.c_void_p(mapped.ctypes.data), ctypes.c_size_t(mapped.size), ctypes.c_void_p(flags.ctypes.data)
    )
    assert found == 0, os.strerror(ctypes.get_errno())
    return int((flags & 1).sum())


def test_a_cold_page_cache_gives_the_same_rows(tmp_path: Path) -> None:
    values = normal(4000, 4, 64)
    folder = write_store(tmp_path, {"cls": values}, 512)
    shards = sorted(path for path in (folder / "cls" / "c").rglob("*") if path.is_file())

    def epoch() -> list[StreamedBatch]:
        array = FeatureStore.open(folder).array("cls")
        sequence, apart = Side(np.arange(4000), (array,)), Side(np.arange(4000)[::-1] // 3, (array,))
        return list(stream([sequence, apart], BlockShuffle(4000, 128, 4), 300, seed=1, epoch=0))

    warm = epoch()
    assert sum(map(pages_in_memory, shards)) > 0
    gc.collect()  # a page that is mapped stays
    for path in shards:
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if any(map(pages_in_memory, shards)):
        pytest.skip("this file system keeps its files in memory")
    cold = epoch()
    assert len(cold) == len(warm)
    for one, other in zip(warm, cold, strict=True):
        np.testing.assert_array_equal(one.pairs, other.pairs)
        np.testing.assert_array_equal(other.sides[0][0], values[one.pairs])
        np.testing.assert_array_equal(other.sides[1][0], values[(3999 - one.pairs) // 3])
        np.testing.assert_array_equal(one.sides[1][0], other.sides[1][0])
