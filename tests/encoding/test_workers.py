"""Parallel work: order, what is started ahead, errors; and features that do not depend on how they were batched."""

import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.config import EncodeParams, EncoderSpec, ImageView, TextView
from pipeline.encoders.checkpoint import materialise
from pipeline.encoders.image import load_image_encoder
from pipeline.encoders.manifest import read_manifest
from pipeline.encoders.text import load_text_encoder
from pipeline.encoding.identity import fingerprint_of
from pipeline.encoding.plan import Plan
from pipeline.encoding.rows import ImageRows, TextRows
from pipeline.encoding.run import StoreEncoder
from pipeline.encoding.workers import OrderedWorkers, count_workers
from pipeline.features import FeatureStore
from pipeline.paths import WORK_VARIABLE
from tests.dag import tiny
from tests.encoders.conftest import picture

TOLERANCE = 1e-4  # of a vector's largest value in float32: what docs/encoders.md states
IDS = tuple(str(number) for number in range(23))


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_results_come_in_order_each_once(workers: int) -> None:
    done: Counter[int] = Counter()

    def work(item: int) -> int:
        time.sleep(0.001 * (item % 3))
        done[item] += 1
        return item * item

    pool = OrderedWorkers(work, workers)
    assert list(pool.results(range(8), following=range(8, 12))) == [item * item for item in range(8)]
    assert list(pool.results(range(8, 12))) == [item * item for item in range(8, 12)]
    assert done == Counter(range(12)), "what was started ahead is used, not made again"


def test_what_follows_is_started_before_it_is_requested() -> None:
    started = threading.Event()
    pool = OrderedWorkers(lambda item: started.set() if item == "next" else None, 1)
    list(pool.results(["a", "b"], following=iter(["next"])))
    assert started.wait(5)


def test_work_started_for_several_later_calls_is_used() -> None:
    done: Counter[int] = Counter()

    def work(item: int) -> int:
        done[item] += 1
        return item

    pool = OrderedWorkers(work, 3)
    for call in range(6):
        assert list(pool.results([call], following=range(call + 1, 6))) == [call]
    assert done == Counter(range(6))


def test_a_broken_promise_costs_work_but_no_result() -> None:
    pool = OrderedWorkers(lambda item: item, 2)
    assert list(pool.results([1, 2, 3], following=[4, 5])) == [1, 2, 3]
    assert list(pool.results([5, 6])) == [5, 6]


def test_at_most_one_item_more_than_there_are_workers_is_started() -> None:
    started: list[int] = []
    pool = OrderedWorkers(started.append, 2)
    results = pool.results(range(100))
    next(results)
    time.sleep(0.05)
    assert len(started) <= 3


def test_an_error_comes_where_its_result_would_have() -> None:
    def work(item: int) -> int:
        if item == 2:
            raise ValueError("two")
        return item

    results = OrderedWorkers(work, 2).results(range(4))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(results)


def test_auto_takes_as_many_threads_as_torch_on_the_cpu() -> None:
    assert count_workers("auto", "cpu") == torch.get_num_threads()
    assert 1 <= count_workers("auto", "cuda") <= 16
    assert count_workers(5, "cuda") == 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root: Path = tmp_path_factory.mktemp("tiny")
    tiny.write_image_checkpoint(root / "eye", 0)
    tiny.write_text_checkpoint(root / "words", 0)
    for name in ("eye", "words"):
        materialise(entry(name, root), root / f"made-{name}")
    return root


def entry(name: str, root: Path) -> EncoderSpec:
    own = {"modality": "image"} if name == "eye" else {"modality": "text", "pooling": "mean"}
    return EncoderSpec(source="local", model=str(root / name), loader="transformers", **own)  # type: ignore[arg-type]


EYE = ImageView(encoder="x", resolution=28, tier="full", dtype="float32")
WORDS = TextView(encoder="x", tier="full", dtype="float32")
STRINGS = {i: " ".join(("a picture of a red anchor . " * 3).split()[: 1 + int(i) % 9]) for i in IDS}


def rows(name: str, folder: Path, params: EncodeParams) -> ImageRows | TextRows:
    spec = entry(name, folder)
    if name == "eye":
        encoder = load_image_encoder(folder / "made-eye", spec, EYE, "cpu")
        return ImageRows(encoder, EYE, lambda i: picture(40, 50, int(i)), params)
    return TextRows(load_text_encoder(folder / "made-words", spec, WORDS, "cpu"), WORDS, STRINGS, params)


def store(name: str, folder: Path, out: Path, params: EncodeParams) -> dict[str, np.ndarray]:
    """Through the encode loop, in shards of 9."""
    view = EYE if name == "eye" else WORDS
    fingerprint = fingerprint_of(read_manifest(folder / f"made-{name}"), entry(name, folder), view)
    StoreEncoder(name, fingerprint, lambda: rows(name, folder, params), 0.0).run(Plan(IDS, 9), out)
    opened = FeatureStore.open(out)
    return {array: opened.read(array, IDS) for array in opened.names}


@pytest.mark.parametrize("name", ["eye", "words"])
def test_neither_batch_size_nor_workers_move_a_feature(
    name: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = {}
    for size, workers in ((1, 0), (4, 0), (4, 1), (4, 3), (16, 2)):
        monkeypatch.setenv(WORK_VARIABLE, str(tmp_path / f"work-{size}-{workers}"))
        params = EncodeParams(batch_size=size, text_batch_size=size, workers=workers, shard_rows=9)
        stores[size, workers] = store(name, folder, tmp_path / f"{size}-{workers}", params)
    alone = stores[1, 0]
    for found in stores.values():
        assert found.keys() == alone.keys()
        for array, values in found.items():
            limit = TOLERANCE * np.abs(alone[array]).max(axis=-1, keepdims=True)
            assert (np.abs(values - alone[array]) <= limit).all()
    for array, values in stores[4, 1].items():
        np.testing.assert_array_equal(values, stores[4, 3][array], "more workers give the same bits")


@pytest.mark.parametrize("name", ["eye", "words"])
def test_the_next_shard_is_started_ahead_and_encoded_once(name: str, folder: Path) -> None:
    made = rows(name, folder, EncodeParams(batch_size=4, text_batch_size=4, workers=2))
    plain = [batch for part in (IDS[:9], IDS[9:]) for batch in rows(name, folder, EncodeParams(
        batch_size=4, text_batch_size=4, workers=0)).encode(part)]  # fmt: skip
    made.prefetch([IDS[9:]])
    first = list(made.encode(IDS[:9]))
    ahead = [item for item, _ in made._workers._started]
    assert len(ahead) == 2, "two batches of the next shard are on their way"
    made.prefetch([])
    second = list(made.encode(IDS[9:]))
    assert [batch.positions for batch in (*first, *second)] == [batch.positions for batch in plain]
    for found, expected in zip((*first, *second), plain, strict=True):
        for array, values in expected.arrays.items():
            np.testing.assert_allclose(found.arrays[array], values, atol=1e-5)
    assert not made._workers._started
