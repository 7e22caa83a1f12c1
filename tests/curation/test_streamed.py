"""Streamed retrieval: a full sort in float64, whatever the blocks, the order of shards, the dtype or the ties."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.curation import streamed
from pipeline.curation.approximate import retrieve_by_index
from pipeline.curation.products import CoarseProducts, Float32Products, coarse_rounding, float32_rounding
from pipeline.curation.retrieval import Candidates
from pipeline.curation.running import RunningTopK
from pipeline.curation.streamed import merged, retrieve_streamed
from pipeline.curation.vectors import Block, PoolVectors
from pipeline.errors import DataError
from pipeline.features.reader import FeatureStore
from tests.alignment.toy import write_store


class InMemory:
    """Rows as a store serves them."""

    def __init__(self, values: np.ndarray) -> None:
        self._values = values
        self.shape, self.dtype = values.shape, values.dtype

    def take(self, rows: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        return np.take(self._values, rows, axis=0, out=out)

    def read_range(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
        return self.take(np.arange(start, stop), out)

    def __array__(self, dtype: object = None, copy: bool | None = None) -> np.ndarray:
        return self._values


def full_sort(vectors: np.ndarray, queries: np.ndarray, k: int) -> Candidates:
    """Every product in float64, row by row."""
    wide = vectors.astype(np.float64)
    lengths = np.sqrt(np.einsum("ij,ij->i", wide, wide))
    products = np.stack([np.einsum("ij,j->i", wide, q.astype(np.float64)) for q in queries])
    scores = (products / np.maximum(lengths, 1e-12)).astype(np.float32)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return Candidates(order, np.take_along_axis(scores, order, axis=1))


def drawn(seed: int, rows: int, width: int, few: bool, dtype: type = np.float32) -> np.ndarray:
    """Vectors; `few` distinct ones among them, so that many are equal."""
    generator = np.random.default_rng(seed)
    values = generator.normal(size=(3 if few else rows, width))
    return (values[generator.integers(len(values), size=rows)] if few else values).astype(dtype)


def equal(found: Candidates, expected: Candidates) -> None:
    np.testing.assert_array_equal(found.rows, expected.rows)
    np.testing.assert_array_equal(found.scores, expected.scores)


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=4),
    k=st.integers(1, 60),
    block=st.integers(1, 50),
    few=st.booleans(),
    half=st.booleans(),
    coarse=st.booleans(),
    seed=st.integers(0, 99),
)
def test_streamed_equals_brute_force(
    sizes: list[int], k: int, block: int, few: bool, half: bool, coarse: bool, seed: int
) -> None:
    dtype = np.float16 if half else np.float32
    parts = [drawn(seed + place, size, 6, few, dtype) for place, size in enumerate(sizes)]
    pool = PoolVectors({f"store{place}": InMemory(part) for place, part in enumerate(parts)})
    queries = drawn(seed + 50, 5, 6, few).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    with products(coarse):
        found = retrieve_streamed(pool, queries, k, blocks=pool.blocks(block))
    equal(found, full_sort(np.concatenate(parts), queries, k))


@contextmanager
def products(coarse: bool) -> Iterator[None]:
    """Products are coarse, or are not, whatever this processor is faster at."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streamed, "coarse_is_faster", lambda *_: coarse)
        patch.setattr(streamed, "_WORTH_A_TRIAL", 0)
        yield


@pytest.mark.parametrize("spread", [1.0, 0.1, 0.01, 1e-3])
def test_coarse_products_give_way_where_all_rows_are_alike(spread: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """As features of many language models are, whose cosines differ by less than bfloat16 tells apart."""
    exact: list[int] = []
    scored = streamed.exact_cosines

    def noted(pool: PoolVectors, queries: np.ndarray, owner: np.ndarray, rows: np.ndarray) -> np.ndarray:
        exact.append(len(rows))
        return scored(pool, queries, owner, rows)

    monkeypatch.setattr(streamed, "exact_cosines", noted)
    rows, k, centre = 20_000, 10, drawn(1, 1, 24, few=False)
    values = centre + np.float32(spread) * drawn(2, rows, 24, few=False)
    values[rows // 2] = np.nan
    queries = drawn(3, 8, 24, few=False) + centre
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    pool = PoolVectors({"alike": InMemory(values)})
    with products(coarse=True):
        found = retrieve_streamed(pool, queries, k, blocks=pool.blocks(250))
    expected = full_sort(np.delete(values, rows // 2, axis=0), queries, k)
    expected.rows[expected.rows >= rows // 2] += 1
    equal(found, expected)
    assert sum(exact) < rows / 4, "most rows are told apart by cheap products"


@pytest.mark.parametrize("coarse", [False, True])
def test_products_are_off_by_no_more_than_they_say(coarse: bool) -> None:
    rows, queries = drawn(1, 300, 384, few=False), drawn(2, 40, 384, few=False)
    rows[:40] = queries  # cosines of 1, where rounding is worst
    rows, queries = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (rows, queries))
    made = CoarseProducts(queries, 300) if coarse else Float32Products(queries, 300, "cpu")
    scores = made(rows).double().numpy()
    off = np.abs(scores - queries.astype(np.float64) @ rows.astype(np.float64).T)
    absolute, relative = (coarse_rounding if coarse else float32_rounding)(queries)
    allowed = absolute[:, None] + relative * np.abs(scores)
    assert (off <= allowed).all()
    assert off.max() > allowed.max() / 100


@pytest.mark.parametrize("floor", [-0.25, 0.0, 0.25])
def test_coarse_hits_are_those_of_a_comparison(floor: float) -> None:
    made = CoarseProducts(drawn(0, 7, 16, few=False), 50)
    scores = made(drawn(1, 50, 16, few=False))
    scores[2, 3], scores[3, 4] = np.nan, -np.nan
    least = np.full(7, np.float32(floor + 0.001))  # of which bfloat16 has no number
    owner, place, found = made.hits(scores[:, 5:40], least)
    wide = scores[:, 5:40].float().numpy()
    expected = np.nonzero(wide >= least[:, None])
    np.testing.assert_array_equal(np.stack([owner, place]), np.stack(expected))
    np.testing.assert_array_equal(found, wide[expected])


def test_the_order_of_shards_and_stores_does_not_matter() -> None:
    generator = np.random.default_rng(0)
    arrays = {name: InMemory(drawn(place, 70, 8, few=place == 1)) for place, name in enumerate("cab")}
    queries = drawn(9, 4, 8, few=False)
    pool = PoolVectors(arrays)
    first = retrieve_streamed(pool, queries, 30)
    for _ in range(5):
        blocks = [pool.blocks(9)[place] for place in generator.permutation(len(pool.blocks(9)))]
        names = generator.permutation(list(arrays)).tolist()
        equal(retrieve_streamed(PoolVectors({name: arrays[name] for name in names}), queries, 30, blocks=blocks), first)


def test_many_equal_rows_take_no_more_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool of one picture over and over: more ties than the candidates have room for."""
    held: list[int] = []
    add = RunningTopK.add

    def noted(self: RunningTopK, *given: np.ndarray) -> None:
        add(self, *given)
        held.append(self.nbytes)

    monkeypatch.setattr(RunningTopK, "add", noted)
    sizes = []
    for rows in (3000, 30000):
        held.clear()
        pool = PoolVectors({"one": InMemory(np.ones((rows, 4), np.float32))})
        found = retrieve_streamed(pool, np.eye(4, dtype=np.float32)[:2], 7, blocks=pool.blocks(500))
        assert found.rows.tolist() == [list(range(7))] * 2
        sizes.append(max(held))
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite_are_not_found(bad: float) -> None:
    values = drawn(0, 20, 4, few=False)
    values[3, 1] = bad
    found = retrieve_streamed(PoolVectors({"one": InMemory(values)}), drawn(1, 2, 4, few=False), 40)
    assert found.rows.shape == (2, 19)
    assert 3 not in found.rows


def test_rows_of_length_zero_come_last_but_one_another() -> None:
    values = np.array([[0, 0], [1, 0], [0, 0], [-1, 0]], np.float32)
    found = retrieve_streamed(PoolVectors({"one": InMemory(values)}), np.array([[1, 0]], np.float32), 4)
    assert found.rows.tolist() == [[1, 0, 2, 3]]


def test_parts_of_a_pool_that_are_searched_apart_merge_to_the_whole() -> None:
    pool = PoolVectors({"a": InMemory(drawn(0, 90, 5, few=True)), "b": InMemory(drawn(1, 40, 5, few=False))})
    queries, blocks = drawn(2, 3, 5, few=False), pool.blocks(10)
    parts = [retrieve_streamed(pool, queries, 25, blocks=blocks[start::3]) for start in (2, 0, 1)]
    equal(merged(parts, 25), retrieve_streamed(pool, queries, 25))


def test_some_rows_of_stores_on_disk(tmp_path: Path) -> None:
    values = drawn(0, 40, 6, few=False, dtype=np.float16)
    layers = np.stack([values[::-1], values], axis=1)  # of which the last counts
    write_store(tmp_path / "v/plain", [f"a{i}" for i in range(40)], {"cls": values}, "digest")
    write_store(tmp_path / "v/deep", [f"b{i}" for i in range(40)], {"cls": layers}, "digest")
    stores = {name: FeatureStore.open(tmp_path / "v" / name).array("cls") for name in ("plain", "deep")}
    rows = {"plain": np.array([3, 1, 30]), "deep": np.arange(0, 40, 2)}
    pool = PoolVectors(stores, rows)
    queries = drawn(1, 3, 6, few=False)
    expected = full_sort(np.concatenate([values[rows["deep"]], values[rows["plain"]]]), queries, 9)
    equal(retrieve_streamed(pool, queries, 9, blocks=pool.blocks(7)), expected)


def test_an_index_sees_every_shard_of_a_store(tmp_path: Path) -> None:
    values = drawn(0, 150, 6, few=False, dtype=np.float16)  # three shards of 64 rows, the last one not full
    layers = np.stack([values[::-1], values], axis=1)
    write_store(tmp_path / "v/plain", [f"a{i}" for i in range(150)], {"cls": values}, "digest")
    write_store(tmp_path / "v/deep", [f"b{i}" for i in range(150)], {"cls": layers}, "digest")
    arrays = {name: FeatureStore.open(tmp_path / "v" / name).array("cls") for name in ("plain", "deep")}
    parts, places = PoolVectors(arrays).mapped()
    np.testing.assert_array_equal(np.concatenate(parts), np.concatenate([values, values]))
    assert places is None
    chosen = {"deep": np.array([149, 2, 70]), "plain": np.arange(64, 150)}
    parts, places = PoolVectors(arrays, chosen).mapped()
    assert places is not None
    pool = PoolVectors(arrays, chosen)
    np.testing.assert_array_equal(np.concatenate(parts)[places], pool.take(np.arange(len(pool))))
    made = retrieve_by_index(pool, drawn(3, 4, 6, few=False), 89, recall=1.0)  # all of them: the order is exact
    exact = retrieve_streamed(pool, drawn(3, 4, 6, few=False), 89)
    np.testing.assert_array_equal(made.candidates.scores, exact.scores)
    assert made.recall == 1.0


def test_stores_of_several_widths_are_refused() -> None:
    with pytest.raises(DataError, match="one width, found a 3, b 4"):
        PoolVectors({"b": InMemory(np.ones((2, 4))), "a": InMemory(np.ones((2, 3)))})
    with pytest.raises(DataError, match="at least one store"):
        PoolVectors({})


def test_an_index_says_what_it_finds() -> None:
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(30, 16))
    values = (centres[generator.integers(30, size=3000)] + 0.3 * generator.normal(size=(3000, 16))).astype(np.float32)
    pool = PoolVectors({"a": InMemory(values[:1000]), "b": InMemory(values[1000:])}, {"a": np.arange(0, 1000, 2)})
    queries = values[::100] + np.float32(0.1)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    made = retrieve_by_index(pool, queries, 20, recall=0.9)
    exact = retrieve_streamed(pool, queries, 20)
    shared = [len(np.intersect1d(a, b)) for a, b in zip(made.candidates.rows, exact.rows, strict=True)]
    assert made.measured == 30
    assert made.recall == pytest.approx(sum(shared) / exact.rows.size)
    assert 0.5 < made.recall <= 1
    same = made.candidates.rows == exact.rows
    np.testing.assert_array_equal(made.candidates.scores[same], exact.scores[same])


def test_blocks_fit_a_cache_or_a_gpu() -> None:
    assert streamed.block_rows(1000, "cpu") * 4000 <= streamed.SCORE_BYTES["cpu"]
    assert streamed.block_rows(1000, "cuda:1") == 65536
    assert Block(0, 1, 2).stop == 2
