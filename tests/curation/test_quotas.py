"""Who takes what: quotas hold, no sample twice, the optimum is that of another solver, draws are even."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from pipeline.curation import quotas as quotas_module
from pipeline.curation.assignment import Assignment
from pipeline.curation.clusters import Clusters, balanced_draw, cluster
from pipeline.curation.quotas import (
    best_in_total,
    density_counts,
    difference,
    level_counts,
    rare_first,
    weighted_counts,
)
from pipeline.curation.retrieval import Candidates
from pipeline.curation.vectors import PoolVectors
from tests.curation.test_streamed import InMemory


def some_candidates(seed: int, concepts: int, rows: int, k: int) -> Candidates:
    """Of each concept k distinct rows with falling scores."""
    generator = np.random.default_rng(seed)
    chosen = np.stack([generator.permutation(rows)[:k] for _ in range(concepts)])
    scores = -np.sort(-generator.uniform(-1, 1, size=(concepts, k)), axis=1).astype(np.float32)
    return Candidates(chosen, scores)


def solved(candidates: Candidates, quotas: np.ndarray) -> tuple[int, float]:
    """How many samples and which total the best assignment has, by the Hungarian method on copies of concepts."""
    owner = np.repeat(np.arange(len(quotas)), quotas)
    names, place = np.unique(candidates.rows, return_inverse=True)
    gain = np.zeros((len(owner), len(names)))
    bonus = 1000.0
    for row, concept in enumerate(owner):
        gain[row, place.reshape(candidates.rows.shape)[concept]] = (
            bonus + candidates.scores[concept].astype(np.float64)  # float32 would round with the bonus
        )
    one, other = linear_sum_assignment(gain, maximize=True)
    taken = gain[one, other] > 0
    return int(taken.sum()), float(gain[one, other][taken].sum() - bonus * taken.sum())


def holds(taken: Assignment, candidates: Candidates, quotas: np.ndarray) -> None:
    assert len(set(taken.rows.tolist())) == len(taken.rows)
    counts = np.bincount(taken.concept, minlength=len(quotas))
    assert (counts <= quotas).all()
    for row, concept, score in zip(taken.rows, taken.concept, taken.scores, strict=True):
        place = np.flatnonzero(candidates.rows[concept] == row)
        assert candidates.scores[concept, place[0]] == score


@settings(deadline=None, max_examples=60)
@given(
    concepts=st.integers(1, 5),
    rows=st.integers(1, 12),
    data=st.data(),
    seed=st.integers(0, 999),
)
def test_quotas_hold_and_the_optimum_is_that_of_another_solver(
    concepts: int, rows: int, data: st.DataObject, seed: int
) -> None:
    candidates = some_candidates(seed, concepts, rows, data.draw(st.integers(1, rows)))
    quotas = np.array(data.draw(st.lists(st.integers(0, 4), min_size=concepts, max_size=concepts)))
    greedy, best = rare_first(candidates, quotas), best_in_total(candidates, quotas)
    assert best is not None
    holds(greedy, candidates, quotas)
    holds(best, candidates, quotas)
    count, total = solved(candidates, quotas)
    assert len(best.rows) == count >= len(greedy.rows)
    assert float(best.scores.sum(dtype=np.float64)) == pytest.approx(total, abs=1e-4)


def test_the_rarest_takes_first_and_the_difference_is_told() -> None:
    # Both want row 0. Concept 1 is rarer by its last candidate and takes it; in total it is better the other way round.
    candidates = Candidates(np.array([[0, 1], [0, 2]]), np.array([[0.9, 0.1], [0.5, 0.0]], np.float32))
    one = np.array([1, 1])
    greedy, best = rare_first(candidates, one), best_in_total(candidates, one)
    assert best is not None
    assert sorted(zip(greedy.rows.tolist(), greedy.concept.tolist(), strict=True)) == [(0, 1), (1, 0)]
    assert sorted(zip(best.rows.tolist(), best.concept.tolist(), strict=True)) == [(0, 0), (2, 1)]
    apart = difference(greedy, best)
    assert (apart.samples, apart.best_samples, apart.moved, apart.swapped) == (2, 2, 1, 1)
    assert apart.total == pytest.approx(0.6)
    assert apart.best == pytest.approx(0.9)


def test_too_many_candidates_have_no_optimum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quotas_module, "MOST_EDGES", 5)
    assert best_in_total(some_candidates(0, 2, 9, 3), np.array([1, 1])) is None


@given(sizes=st.lists(st.integers(0, 30), min_size=1, max_size=8), total=st.integers(0, 120))
def test_level_counts_are_as_even_as_sizes_allow(sizes: list[int], total: int) -> None:
    counts = level_counts(np.array(sizes), total)
    assert counts.sum() == min(total, sum(sizes))
    assert (counts <= sizes).all()
    free = counts[counts < sizes]
    if len(free):  # who is not empty has at most one less than whoever has most
        assert counts.max() - free.min() <= 1


@given(
    sizes=st.lists(st.integers(0, 30), min_size=2, max_size=6),
    total=st.integers(0, 120),
    data=st.data(),
)
def test_weighted_counts_keep_sizes_and_total(sizes: list[int], total: int, data: st.DataObject) -> None:
    weights = data.draw(st.lists(st.floats(0.01, 100), min_size=len(sizes), max_size=len(sizes)))
    counts = weighted_counts(np.array(sizes), np.array(weights), total)
    assert counts.sum() == min(total, sum(sizes))
    assert (counts <= sizes).all()
    assert (counts >= 0).all()


def test_density_gives_more_to_wide_and_lonely_clusters() -> None:
    counts = density_counts(np.array([100, 100, 3]), np.array([0.5, 0.1, 0.9]), np.array([0.5, 0.1, 0.9]), 60)
    assert counts.tolist()[2] == 3  # all that it has
    assert counts[0] > counts[1]
    assert counts.sum() == 60


def clumps(sizes: list[int], seed: int = 0) -> tuple[PoolVectors, np.ndarray]:
    """A pool of clearly separate clumps, and the clump of each row."""
    generator = np.random.default_rng(seed)
    of = np.repeat(np.arange(len(sizes)), sizes)
    values = np.eye(16)[of] + 0.01 * generator.normal(size=(len(of), 16))
    return PoolVectors({"one": InMemory(values.astype(np.float32))}), of


def same_partition(one: np.ndarray, other: np.ndarray) -> bool:
    return (
        len(set(zip(one.tolist(), other.tolist(), strict=True))) == len(set(other.tolist())) == len(set(one.tolist()))
    )


def test_clusters_are_found_again_and_the_same_twice() -> None:
    pool, of = clumps([40, 10, 25])
    found = next(c for c in (cluster(pool, 3, seed) for seed in range(9)) if same_partition(c.of, of))
    assert sorted(found.sizes.tolist()) == [10, 25, 40]
    assert (found.intra < 0.01).all()
    np.testing.assert_allclose(found.inter, 1.0, atol=0.05)
    for seed in range(3):
        first, again = cluster(pool, 3, seed), cluster(pool, 3, seed)
        assert first.centroids.tobytes() == again.centroids.tobytes()
        assert first.of.tobytes() == again.of.tobytes()


def test_rows_that_are_not_finite_are_in_no_cluster() -> None:
    values = np.ones((10, 4), np.float32)
    values[3, 1] = np.nan
    found: Clusters = cluster(PoolVectors({"one": InMemory(values)}), 2, 0)
    assert np.flatnonzero(found.of < 0).tolist() == [3]


def test_a_balanced_draw_is_even_over_clusters_where_a_random_one_is_not() -> None:
    pool, of = clumps([300, 20, 20, 20])
    drawn = balanced_draw(pool, (8, 4), 40, seed=3)
    assert len(set(drawn.tolist())) == 40
    counts = np.bincount(of[drawn], minlength=4)
    assert counts.max() < 25  # of 40; 33 of a random draw are of the first clump
    assert counts.min() > 0
    np.testing.assert_array_equal(drawn, balanced_draw(pool, (8, 4), 40, seed=3))
    everything = balanced_draw(pool, (8, 4), 10_000, seed=3)
    assert sorted(everything.tolist()) == list(range(360))
