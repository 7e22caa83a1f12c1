"""A store that is replaced while it is open, copied, or sent to another process; and what is no list of rows."""

import copy
import mmap
import multiprocessing
import pickle
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import zarr

from pipeline.errors import DataError, StoreError
from pipeline.features import FeatureStore, replace
from pipeline.features.replace import replace_folder
from pipeline.work_folder import work_folder
from tests.features import test_ragged
from tests.features.stores import normal, write_store

ROWS = 70
WIDTHS = {"whole pages": (mmap.PAGESIZE // 2 // 16,), "no whole pages": (3, 5)}
work = test_ragged.work


@pytest.mark.parametrize("removed", [False, True], ids=["replaced", "removed"])
@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_an_open_store_serves_what_it_opened(tmp_path: Path, width: tuple[int, ...], removed: bool) -> None:
    old, new = normal(ROWS, *width), normal(ROWS, *width, seed=1)
    store = FeatureStore.open(write_store(tmp_path, {"cls": old}, 16))
    if removed:
        shutil.rmtree(store.folder)
    else:
        write_store(tmp_path, {"cls": new}, 16)
        np.testing.assert_array_equal(FeatureStore.open(store.folder).array("cls").read_range(3, 61), new[3:61])
    np.testing.assert_array_equal(store.array("cls").read_range(3, 61), old[3:61])
    np.testing.assert_array_equal(store.array("cls").take(np.array([60, 3])), old[[60, 3]])
    np.testing.assert_array_equal(store.read("cls", ["id5"]), old[[5]])


def compressed(folder: Path, values: np.ndarray) -> FeatureStore:
    out = write_store(folder, {"cls": values}, 16)
    shutil.rmtree(out / "cls")
    group = zarr.open_group(str(out), mode="a")
    array = group.create_array("cls", shape=values.shape, dtype="float16", chunks=(4, 5), compressors="auto")
    array[:] = values
    (out / "manifest.json").unlink()
    return FeatureStore.open(out)


def test_what_zarr_reads_by_path_is_refused_after_a_replacement(tmp_path: Path) -> None:
    array = compressed(tmp_path, normal(20, 5)).array("cls")
    np.testing.assert_array_equal(array.read_range(2, 9), normal(20, 5)[2:9])
    write_store(tmp_path, {"cls": normal(20, 5, seed=1)}, 16)
    with pytest.raises(StoreError, match="was replaced after it was opened. Open the store again"):
        array.read_range(2, 9)
    shutil.rmtree(tmp_path / "store")
    with pytest.raises(StoreError, match="was replaced after it was opened"):
        array.take(np.array([3]))


def test_tokens_that_are_opened_late_are_of_the_same_store(tmp_path: Path) -> None:
    store, opened = (test_ragged.encode(tmp_path / "out", range(20)) for _ in range(2))
    tokens = opened.ragged("tokens")
    expected = tokens.take(np.arange(20))[0]
    test_ragged.encode(tmp_path / "out", range(20, 40))
    np.testing.assert_array_equal(tokens.take(np.arange(20))[0], expected)
    with pytest.raises(StoreError, match="out was replaced after it was opened"):
        store.ragged("tokens")


def test_a_store_that_is_replaced_while_it_is_opened_is_one_of_the_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = normal(20, 5), normal(20, 5, seed=1)
    out, times = write_store(tmp_path, {"cls": old}, 16), iter(range(2))
    first = FeatureStore.array

    def array(store: FeatureStore, name: str) -> object:
        if next(times, None) is not None:
            write_store(tmp_path, {"cls": new}, 16)
        return first(store, name)

    monkeypatch.setattr(FeatureStore, "array", array)
    np.testing.assert_array_equal(FeatureStore.open(out).array("cls").read_range(0, 20), new)


@pytest.mark.parametrize("exchange", [True, False])
def test_a_folder_takes_the_place_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool) -> None:
    if not exchange:
        monkeypatch.setattr(replace, "_exchanged", lambda *_: False)
    for content, kind in (("a", "folder"), ("b", "folder"), ("c", "file"), ("d", "link")):
        target = tmp_path / "target"
        if kind != "folder":
            shutil.rmtree(target)
        if kind == "file":
            target.write_text("x")
        if kind == "link":
            target.symlink_to(tmp_path)
        (tmp_path / "new").mkdir()
        (tmp_path / "new/content").write_text(content)
        replace_folder(tmp_path / "new", target)
        assert (target / "content").read_text() == content
        assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_there_is_a_store_at_every_moment(tmp_path: Path) -> None:
    out = write_store(tmp_path, {"cls": normal(4, 5)}, 4)
    (tmp_path / "probe").mkdir()
    (tmp_path / "other").mkdir()
    if not replace._exchanged(tmp_path / "probe", tmp_path / "other"):
        pytest.skip("the system does not exchange names")
    gone, done = [], threading.Event()

    def watch() -> None:
        while not done.is_set():
            if not out.exists():
                gone.append(out)

    thread = threading.Thread(target=watch)
    thread.start()
    for seed in range(5):
        write_store(tmp_path, {"cls": normal(4, 5, seed=seed)}, 4)
    done.set()
    thread.join()
    assert not gone


def _of(store: FeatureStore) -> np.ndarray:
    return np.concatenate([store.array("cls").read_range(0, 3), store.read("cls", ["id7"])])


def test_a_store_reaches_other_processes_and_copies(tmp_path: Path) -> None:
    values = normal(20, 5)
    store = FeatureStore.open(write_store(tmp_path, {"cls": values}, 16))
    expected = values[[0, 1, 2, 7]]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        np.testing.assert_array_equal(pool.apply(_of, (store,)), expected)
    sent, array = pickle.dumps(store), pickle.dumps(store.array("cls"))
    np.testing.assert_array_equal(_of(pickle.loads(sent)), expected)
    np.testing.assert_array_equal(pickle.loads(array).read_range(4, 9), values[4:9])
    write_store(tmp_path, {"cls": normal(20, 5, seed=1)}, 16)
    np.testing.assert_array_equal(_of(copy.deepcopy(store)), expected)
    np.testing.assert_array_equal(copy.deepcopy(store.array("cls")).read_range(4, 9), values[4:9])
    for message in (sent, array):
        with pytest.raises(StoreError, match="was replaced after it was opened"):
            pickle.loads(message)


def test_int8_arrays_and_tokens_reach_other_processes(tmp_path: Path) -> None:
    store = test_ragged.encode(tmp_path / "out", range(20), test_ragged.Texts("int8"))
    pooled, tokens = store.array("pooled"), store.ragged("tokens")
    for copied in (pickle.loads(pickle.dumps(pooled)), copy.deepcopy(pooled)):
        np.testing.assert_array_equal(copied.read_range(2, 11), pooled.read_range(2, 11))
    for same in (pickle.loads(pickle.dumps(tokens)), copy.deepcopy(tokens)):
        np.testing.assert_array_equal(same.take(np.array([3, 17]))[0], tokens.take(np.array([3, 17]))[0])
    assert work_folder().is_relative_to(tmp_path)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.array([True, False] * 10), "found bool.*np.flatnonzero"),
        (np.array([0.0, 1.0]), "found float64"),
        (np.array([[0, 1]]), "found int64 .1, 2."),
        (3, "found int64 ()"),
        (["1"], "found <U1"),
        ([-1], "asked for -1 to -1"),
    ],
)
def test_what_is_no_list_of_positions_is_refused(tmp_path: Path, rows: object, message: str) -> None:
    whole = FeatureStore.open(write_store(tmp_path, {"cls": normal(20, 5)}, 16)).array("cls")
    store = test_ragged.encode(tmp_path / "out", range(20), test_ragged.Texts("int8"))
    for array in (whole, store.array("pooled"), store.ragged("tokens")):
        with pytest.raises(StoreError, match=message):
            array.take(rows)  # type: ignore[arg-type]
    assert whole.take([]).shape == (0, 5)  # type: ignore[arg-type]


def test_a_string_is_no_list_of_ids_and_a_string_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_store(tmp_path, {"cls": normal(20, 5)}, 16)
    monkeypatch.setenv("HOME", str(tmp_path))
    for folder in (str(tmp_path / "store"), "~/store"):
        store = FeatureStore.open(folder)
        for one in ("id3", np.array("id3"), b"id3"):
            with pytest.raises(DataError, match="expected a list of ids, found"):
                store.read("cls", one)  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="Expected the folder of a feature store, found int"):
        FeatureStore.open(3)  # type: ignore[arg-type]
