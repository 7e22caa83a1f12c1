"""mutual-kNN against sets of neighbours, its chance level, and ties."""

from itertools import permutations as all_orders

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import DataError
from pipeline.similarity import neighbours
from pipeline.similarity.neighbours import chance, mutual_knn, neighbour_weights, overlap


def features(seed: int, n: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, width))


@settings(deadline=None, max_examples=25)
@given(n=st.integers(5, 25), k=st.integers(1, 4), seed=st.integers(0, 20))
def test_mutual_knn_equals_sets_of_neighbours(n: int, k: int, seed: int) -> None:
    x, y = features(seed, n, 4), features(seed + 50, n, 3)

    def near(z: np.ndarray, i: int) -> set[int]:
        cosine = z @ z[i] / (np.linalg.norm(z, axis=1) * np.linalg.norm(z[i]))
        return set(sorted((j for j in range(n) if j != i), key=lambda j: -cosine[j])[:k])

    expected = [len(near(x, i) & near(y, i)) / k for i in range(n)]
    np.testing.assert_allclose(overlap(neighbour_weights(x, k), neighbour_weights(y, k), k), expected)
    assert mutual_knn(x, y, k) == pytest.approx(np.mean(expected))


def test_chance_is_the_mean_over_all_pairings() -> None:
    x, y = features(4, 6, 3), features(5, 6, 3)
    values = [mutual_knn(x, y[list(order)], 2) for order in all_orders(range(6))]
    assert np.mean(values) == pytest.approx(chance(6, 2))


def test_five_fold_copies_agree_by_half() -> None:
    """Each sample has 4 copies, equally near, and takes 2: two fair draws of 2 among 4 share 1 of 2 on average."""
    copies, others = (np.repeat(features(seed, 30, 6), 5, axis=0) for seed in (0, 1))
    assert mutual_knn(copies, others, 2) == pytest.approx(0.5, abs=1e-12)
    shuffled = np.random.default_rng(2).permutation(150)
    assert mutual_knn(copies[shuffled], others[shuffled], 2) == pytest.approx(0.5, abs=1e-12)


def test_ties_are_the_mean_over_fair_draws() -> None:
    """Grid points with many equal cosines; every way of breaking ties at random, averaged over many draws."""
    generator, k = np.random.default_rng(0), 3
    x, y = (generator.integers(-1, 2, size=(14, 2)).astype(float) + 0.01 for _ in range(2))

    def draw(z: np.ndarray) -> np.ndarray:
        unit = z / np.linalg.norm(z, axis=1, keepdims=True)
        cosine = np.round(unit @ unit.T, 9)
        np.fill_diagonal(cosine, -np.inf)
        order = np.lexsort((generator.random(cosine.shape), -cosine), axis=1)[:, :k]
        inside = np.zeros_like(cosine)
        np.put_along_axis(inside, order, 1.0, axis=1)
        return inside

    drawn = [(draw(x) * draw(y)).sum() / (14 * k) for _ in range(4000)]
    assert mutual_knn(x, y, k) == pytest.approx(np.mean(drawn), abs=4 * np.std(drawn) / np.sqrt(len(drawn)))


def test_weights_sum_to_k_in_blocks_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.repeat(features(0, 12, 4), 3, axis=0)
    whole = neighbour_weights(x, 4).toarray()
    np.testing.assert_allclose(whole.sum(axis=1), 4)
    assert np.diag(whole).sum() == 0
    monkeypatch.setattr(neighbours, "_CELLS_AT_ONCE", 100)
    np.testing.assert_allclose(neighbour_weights(x, 4).toarray(), whole)


def test_k_must_be_below_the_number_of_samples() -> None:
    with pytest.raises(DataError, match="more than 5 samples, found 5"):
        mutual_knn(features(0, 5, 2), features(1, 5, 2), 5)
