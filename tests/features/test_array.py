"""Reading rows, ranges and views against plain numpy, for shards that are whole pages and for shards that are not."""

import gc
import mmap
import multiprocessing
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import StoreError
from pipeline.features import FeatureArray, FeatureStore
from pipeline.features.layout import shard_path
from pipeline.features.mapping import Mapping
from tests.features.stores import normal, write_store

ROWS = 70
PAGES = (mmap.PAGESIZE // 2 // 16,)  # 16 float16 rows of this width fill a page


@pytest.fixture(scope="module", params=[PAGES, (3, 5)], ids=["whole pages", "no whole pages"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[FeatureArray, np.ndarray]:
    values = normal(ROWS, *request.param)
    out = write_store(tmp_path_factory.mktemp("store"), {"cls": values}, 16)
    return FeatureStore.open(out).array("cls"), values


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.integers(0, ROWS - 1), max_size=90))
def test_take_is_numpys_take(made: tuple[FeatureArray, np.ndarray], rows: list[int]) -> None:
    array, values = made
    wanted = np.array(rows, dtype=np.int64)
    expected = np.take(values, wanted, axis=0)
    np.testing.assert_array_equal(array.take(wanted), expected)
    out = np.empty_like(expected)
    assert array.take(wanted, out=out) is out
    np.testing.assert_array_equal(out, expected)


@settings(max_examples=60, deadline=None)
@given(ends=st.tuples(st.integers(0, ROWS), st.integers(0, ROWS)))
def test_a_range_is_a_slice(made: tuple[FeatureArray, np.ndarray], ends: tuple[int, int]) -> None:
    array, values = made
    start, stop = sorted(ends)
    np.testing.assert_array_equal(array.read_range(start, stop), values[start:stop])
    out = np.empty((stop - start, *values.shape[1:]), values.dtype)
    assert array.read_range(start, stop, out=out) is out
    np.testing.assert_array_equal(out, values[start:stop])


@pytest.mark.skipif(sys.platform != "linux", reason="one range of memory is built on Linux only")
def test_whole_pages_are_one_view_that_outlives_the_array(tmp_path: Path) -> None:
    values = normal(ROWS, *PAGES)
    view = FeatureStore.open(write_store(tmp_path, {"cls": values}, 16)).array("cls").view()
    gc.collect()
    assert view.shape == values.shape
    np.testing.assert_array_equal(view, values)
    part = view[17:33]
    del view
    gc.collect()
    np.testing.assert_array_equal(part, values[17:33])
    with pytest.raises(ValueError, match="read-only"):
        part[0] = 0


def test_a_view_that_cannot_be_is_refused(tmp_path: Path) -> None:
    array = FeatureStore.open(write_store(tmp_path, {"cls": normal(ROWS, 3, 5)}, 16)).array("cls")
    with pytest.raises(StoreError, match="cannot be viewed as one array: its shards are not whole pages"):
        array.view()


def test_views_give_their_memory_back(tmp_path: Path) -> None:
    out = write_store(tmp_path, {"cls": normal(ROWS, *PAGES)}, 16)

    def mapped() -> int:
        return sum(str(out) in line for line in Path("/proc/self/maps").read_text().splitlines())

    if not Path("/proc/self/maps").is_file():
        pytest.skip("no /proc")
    store = FeatureStore.open(out)
    view = store.array("cls").view()
    assert mapped() > 0
    del view, store
    gc.collect()
    assert mapped() == 0


@pytest.mark.parametrize("rows", [[-1], [0, ROWS]])
def test_rows_outside_are_refused(made: tuple[FeatureArray, np.ndarray], rows: list[int]) -> None:
    with pytest.raises(StoreError, match=f"has rows 0 to {ROWS - 1}, asked for"):
        made[0].take(np.array(rows))
    with pytest.raises(StoreError, match=f"has rows 0 to {ROWS}, asked for 3 to {ROWS + 1}"):
        made[0].read_range(3, ROWS + 1)


@pytest.mark.parametrize("out", [np.empty((2, 7), np.float16), np.empty((3, *PAGES), np.float32)])
def test_an_output_that_does_not_fit_is_refused(made: tuple[FeatureArray, np.ndarray], out: np.ndarray) -> None:
    with pytest.raises(StoreError, match="`out` should be a C-contiguous float16 array of shape"):
        made[0].take(np.array([1, 2]), out=out)
    with pytest.raises(StoreError, match="`out` should be a C-contiguous float16 array of shape"):
        made[0].read_range(0, 2, out=out)


def test_rows_that_left_memory_are_the_same(tmp_path: Path) -> None:
    values = normal(ROWS, *PAGES)
    out = write_store(tmp_path, {"cls": values}, 16)
    for number in range(5):
        descriptor = os.open(out / shard_path("cls", number, 1), os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)
    array = FeatureStore.open(out).array("cls")
    rows = np.random.default_rng(1).integers(0, ROWS, 40)
    np.testing.assert_array_equal(array.take(rows), values[rows])


def test_a_shard_that_was_cut_is_named(tmp_path: Path) -> None:
    out = write_store(tmp_path, {"cls": normal(ROWS, *PAGES)}, 16)
    array = FeatureStore.open(out).array("cls")
    path = out / shard_path("cls", 2, 1)
    path.chmod(0o644)
    os.truncate(path, 100)
    with pytest.raises(StoreError, match="c/2/0 is cut short"):
        array.read_range(0, ROWS)


def _sum(folder: str, start: int) -> float:
    array = FeatureStore.open(Path(folder)).array("cls")
    return float(array.take(np.arange(start, ROWS, 3)).astype(np.float64).sum())


def test_several_processes_read_at_once(tmp_path: Path) -> None:
    values = normal(ROWS, *PAGES)
    out = write_store(tmp_path, {"cls": values}, 16)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        sums = pool.starmap(_sum, [(str(out), start) for start in range(3)])
    assert sums == [float(values[start::3].astype(np.float64).sum()) for start in range(3)]


@pytest.mark.skipif(sys.platform != "linux", reason="arrays are mapped as one range on Linux alone")
@pytest.mark.parametrize(("width", "row"), [(16384, "large"), (64, "small")])
def test_a_batch_that_is_partly_in_memory_is_fetched_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int, row: str
) -> None:
    array = FeatureStore.open(write_store(tmp_path, {"cls": normal(128, width)}, 64)).array("cls")
    size, asked = width * 2, []
    there = {0, 40}  # the first row of the batch, and the one in its middle
    monkeypatch.setattr(Mapping, "resident", lambda _, offset: offset // size in there)
    monkeypatch.setattr(Mapping, "will_need", lambda _, offsets, length: asked.append((offsets // size, length)))
    array.take(np.array([0, 7, 40, 100]))
    ((rows, length),) = asked
    assert length == size
    assert rows.tolist() == ([7, 100] if row == "large" else [0, 7, 40, 100])
    asked.clear()
    array.take(np.array([0, 40, 0, 40]))
    assert [len(rows) for rows, _ in asked] in ([], [0])
