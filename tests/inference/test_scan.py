"""Exact search: equal to a full sort, whatever the blocks, the dtype and the number of queries."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import DataError
from pipeline.inference import scan
from pipeline.inference.scan import exact_scores, nearest
from pipeline.inference.vectors import VectorRows, quantised
from pipeline.vector_files import read_vectors


def units(count: int, width: int, seed: int = 0) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=(count, width))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


def sorted_by_hand(vectors: np.ndarray, queries: np.ndarray, k: int, allowed: np.ndarray | None = None) -> np.ndarray:
    """Rows by cosine in float64, rounded to float32, of equal ones the earlier."""
    wide = vectors.astype(np.float64)
    wide /= np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12)
    rows = np.arange(len(vectors)) if allowed is None else np.flatnonzero(allowed)
    out = []
    for query in queries.astype(np.float64):
        scores = (wide[rows] * query).sum(axis=1).round(6)
        out.append(rows[np.lexsort((rows, -scores))[:k]])
    return np.array(out)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "float64"])
@pytest.mark.parametrize("size", [64, 4096, 1 << 20])  # bytes of a block: from one row to all of them
def test_every_dtype_and_block_gives_a_full_sort(dtype: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "BLOCK_BYTES", size)
    vectors = 3 * units(500, 16)
    vectors[100:200] = vectors[7]  # ties keep their order
    stored = quantised(vectors) if dtype == "int8" else vectors.astype(dtype)
    queries = np.concatenate([units(5, 16, seed=1), units(1, 16, seed=2), vectors[7:8] / 3])
    found = VectorRows([stored[:123], stored[123:]]).nearest(queries, 150)
    assert np.array_equal(found.rows, sorted_by_hand(stored, queries, 150))
    assert found.rows[-1].tolist()[:101] == [7, *range(100, 200)]
    assert found.scores[-1, 0] == pytest.approx(1, abs=1e-2 if dtype == "int8" else 1e-3)


def test_the_answer_does_not_depend_on_the_other_queries_or_on_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, queries = VectorRows([units(3000, 48)]), units(70, 48, seed=1)
    together = vectors.nearest(queries, 9)
    for size in (1000, 77_777):
        monkeypatch.setattr(scan, "BLOCK_BYTES", size)
        monkeypatch.setattr(scan, "_MOST_QUERIES", 32)
        again = vectors.nearest(queries, 9)
        assert np.array_equal(again.rows, together.rows)
        assert np.array_equal(again.scores, together.scores), "to the last bit"
        alone = vectors.nearest(queries[40:41], 9)
        assert np.array_equal(alone.scores[0], together.scores[40])


def test_rows_closer_than_float32_can_tell_are_put_in_order() -> None:
    """A product of 512 float32 numbers is off by more than these differ."""
    query = units(1, 512)
    away = units(1, 512, seed=1)
    away -= (away @ query.T) * query
    steps = np.linspace(0.002, 0.0, 400)[:, None]
    vectors = (query * 0.9 + (np.sqrt(1 - 0.81) + steps) * away).astype(np.float32)
    vectors = np.concatenate([units(5000, 512, seed=2), vectors])
    found = VectorRows([vectors]).nearest(query, 50)
    wide = vectors.astype(np.float64)
    exact = ((wide / np.linalg.norm(wide, axis=1, keepdims=True)) @ query[0].astype(np.float64)).astype(np.float32)
    assert np.array_equal(found.rows[0], np.lexsort((np.arange(len(exact)), -exact))[:50])


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9])
def test_only_allowed_rows_are_found(share: float) -> None:
    vectors, queries = units(2000, 8), units(3, 8, seed=1)
    allowed = np.random.default_rng(2).random(2000) < share
    found = VectorRows([vectors]).nearest(queries, 25, allowed)
    expected = sorted_by_hand(vectors, queries, 25, allowed)
    assert np.array_equal(found.rows, expected)
    assert found.rows.shape == (3, min(25, int(allowed.sum())))


def test_rows_that_no_filter_allows_are_not_read() -> None:
    touched: list[int] = []

    class Rows(VectorRows):
        def take(self, rows: np.ndarray) -> np.ndarray:
            touched.extend(rows.tolist())
            return super().take(rows)

        def blocks(self, size: int = 0) -> Iterator[scan.Block]:
            raise AssertionError(f"all rows are read, {size} at a time")

    allowed = np.zeros(1000, dtype=bool)
    allowed[[5, 900]] = True
    assert sorted(Rows([units(1000, 8)]).nearest(units(1, 8, seed=1), 3, allowed).rows[0]) == [5, 900]
    assert touched == [5, 900]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_rows_that_are_not_finite_are_not_found(bad: float) -> None:
    vectors = units(40, 8)
    vectors[3, 2] = bad
    vectors[17] = 0  # no direction: a cosine of zero with everything
    found = VectorRows([vectors]).nearest(units(2, 8, seed=1), 40)
    assert found.rows.shape == (2, 39)
    assert 3 not in found.rows
    assert (found.scores[found.rows == 17] == 0).all()


def test_nothing_to_search_and_nothing_asked() -> None:
    assert nearest([], units(2, 8), 3).rows.shape == (2, 0)
    assert VectorRows([units(4, 8)]).nearest(np.empty((0, 8), np.float32), 3).rows.shape[0] == 0
    assert VectorRows([np.empty((0, 8), np.float32)]).nearest(units(2, 8), 3).rows.shape == (2, 0)


def test_scores_are_cosines_in_float64() -> None:
    vectors, query = 5 * units(20, 300), units(1, 300, seed=1)[0]
    wide = vectors.astype(np.float64)
    cosines = wide @ query.astype(np.float64) / np.linalg.norm(wide, axis=1)
    assert np.allclose(exact_scores(vectors, query, cosine=True), cosines, atol=1e-7, rtol=0)
    assert np.allclose(exact_scores(vectors, query, cosine=False), 5 * cosines, atol=1e-6, rtol=0)


def test_int8_keeps_the_direction() -> None:
    vectors = units(200, 64)
    codes = quantised(vectors)
    assert codes.dtype == np.int8
    assert (np.abs(codes.astype(int)).max(axis=1) == 127).all()
    cosines = exact_scores(codes, vectors, cosine=True)
    assert cosines.min() > 0.999


def test_several_files_are_one_array_and_have_one_digest(tmp_path: Path) -> None:
    vectors = units(50, 8)
    for number, part in enumerate(np.split(vectors, [11, 30])):
        np.save(tmp_path / f"{number}.npy", part)
    files = sorted(tmp_path.glob("*.npy"))
    parts = VectorRows([read_vectors(file) for file in files], files)
    assert (len(parts), parts.width, parts.counts) == (50, 8, [11, 19, 20])
    assert np.array_equal(parts.whole(), vectors)
    rows = np.array([49, 0, 11, 10, 30, 0])
    assert np.array_equal(parts.take(rows), vectors[rows])
    assert parts.digest() == VectorRows([vectors]).digest()
    changed = vectors.copy()
    changed[20, 3] += 1e-6
    assert VectorRows([changed]).digest() != parts.digest()
    assert VectorRows([vectors.reshape(25, 16)]).digest() != parts.digest()
    with pytest.raises(DataError, match="of one kind, found 8 x float16, 8 x float32"):
        VectorRows([vectors, vectors.astype(np.float16)], files)


@pytest.mark.parametrize("array", [np.zeros(3), np.zeros((2, 2), np.int16), np.array([[None]])])
def test_arrays_of_something_else_are_refused(array: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "some.npy", array, allow_pickle=True)
    with pytest.raises(DataError, match="some.npy (should hold rows of floating-point|cannot be read)"):
        read_vectors(tmp_path / "some.npy", "fi")
    (tmp_path / "folder.npy").mkdir()
    with pytest.raises(DataError, match="not a regular file"):
        read_vectors(tmp_path / "folder.npy")
