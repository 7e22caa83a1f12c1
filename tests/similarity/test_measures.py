"""CKA, mutual-kNN, their nulls and rank correlation against slow or independent versions."""

from itertools import permutations as all_orders

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from pipeline.similarity.cka import double_centred, gram, linear_cka, u_centred, unbiased_linear_cka, unit
from pipeline.similarity.correlation import spearman
from pipeline.similarity.neighbours import chance, membership, mutual_knn, nearest, overlap
from pipeline.similarity.null import calibrated, cka_null, knn_null, p_value, permutations


def features(seed: int, n: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, width))


def slow_biased(x: np.ndarray, y: np.ndarray) -> float:
    """By the definition: tr(KHLH) over the root of tr(KHKH) tr(LHLH)."""
    h = np.eye(len(x)) - 1 / len(x)
    k, m = x @ x.T, y @ y.T

    def hsic(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.trace(a @ h @ b @ h))

    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


def slow_unbiased(x: np.ndarray, y: np.ndarray) -> float:
    """Song et al. (2012), eq. 5, term by term."""

    def hsic(a: np.ndarray, b: np.ndarray) -> float:
        n = len(a)
        a, b = a - np.diag(np.diag(a)), b - np.diag(np.diag(b))
        one = np.ones(n)
        first = np.trace(a @ b)
        second = (one @ a @ one) * (one @ b @ one) / ((n - 1) * (n - 2))
        third = 2 / (n - 2) * (one @ a @ b @ one)
        return float(first + second - third) / (n * (n - 3))

    k, m = x @ x.T, y @ y.T
    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


@pytest.mark.parametrize(("n", "d", "e"), [(12, 3, 5), (9, 20, 4), (30, 8, 40)])
def test_cka_equals_its_definition(n: int, d: int, e: int) -> None:
    x, y = features(1, n, d) + 3.0, features(2, n, e)
    y[:, :2] += x[:, :2]
    assert linear_cka(x, y) == pytest.approx(slow_biased(x, y), abs=1e-9)
    assert unbiased_linear_cka(x, y) == pytest.approx(slow_unbiased(x, y), abs=1e-9)


def test_cka_ignores_rotation_translation_and_scale() -> None:
    x = features(0, 40, 6)
    rotation = np.linalg.qr(features(3, 6, 6))[0]
    assert unbiased_linear_cka(x, 5 * x @ rotation + 2) == pytest.approx(1.0, abs=1e-9)


def test_only_the_unbiased_estimate_is_zero_for_independent_features() -> None:
    pairs = [(features(i, 60, 50), features(1000 + i, 60, 50)) for i in range(40)]
    assert abs(np.mean([unbiased_linear_cka(x, y) for x, y in pairs])) < 0.02
    assert np.mean([linear_cka(x, y) for x, y in pairs]) > 0.3


def test_too_few_samples() -> None:
    with pytest.raises(ValueError, match="at least 4 samples"):
        unbiased_linear_cka(features(0, 3, 2), features(1, 3, 2))


@settings(deadline=None, max_examples=25)
@given(n=st.integers(5, 25), k=st.integers(1, 4), seed=st.integers(0, 20))
def test_mutual_knn_equals_sets_of_neighbours(n: int, k: int, seed: int) -> None:
    x, y = features(seed, n, 4), features(seed + 50, n, 3)

    def near(z: np.ndarray, i: int) -> set[int]:
        cosine = z @ z[i] / (np.linalg.norm(z, axis=1) * np.linalg.norm(z[i]))
        return set(sorted((j for j in range(n) if j != i), key=lambda j: -cosine[j])[:k])

    expected = [len(near(x, i) & near(y, i)) / k for i in range(n)]
    np.testing.assert_allclose(overlap(nearest(x, k), nearest(y, k)), expected)
    assert mutual_knn(x, y, k) == pytest.approx(np.mean(expected))


def test_chance_is_the_mean_over_all_pairings() -> None:
    x, y = features(4, 6, 3), features(5, 6, 3)
    values = [mutual_knn(x, y[list(order)], 2) for order in all_orders(range(6))]
    assert np.mean(values) == pytest.approx(chance(6, 2))


def test_k_must_be_below_the_number_of_samples() -> None:
    with pytest.raises(ValueError, match="more than 5"):
        nearest(features(0, 5, 2), 5)


def test_nulls_equal_measuring_shuffled_texts() -> None:
    images, texts = [features(i, 20, 5) for i in range(3)], [features(9 + i, 20, 4) for i in range(2)]
    orders = permutations(20, 7, seed=0)
    grams = [[unit(u_centred(gram(x))).astype(np.float32) for x in side] for side in (images, texts)]
    found = cka_null(grams[0], grams[1], orders)
    near = [[nearest(x, 3) for x in side] for side in (images, texts)]
    counted = knn_null([membership(x) for x in near[0]], near[1], orders)
    assert found.shape == counted.shape == (7, 3, 2)
    for p, order in enumerate(orders):
        for i, image in enumerate(images):
            for t, text in enumerate(texts):
                assert found[p, i, t] == pytest.approx(unbiased_linear_cka(image, text[order]), abs=1e-5)
                assert counted[p, i, t] == pytest.approx(mutual_knn(image, text[order], 3))


def test_p_values_and_calibration_by_hand() -> None:
    null = np.array([0.1, 0.2, 0.3, 0.4])
    assert p_value(0.5, null) == pytest.approx(1 / 5)
    assert p_value(0.3, null) == pytest.approx(3 / 5)
    assert calibrated(0.6, 0.2) == pytest.approx(0.5)
    assert calibrated(0.1, 0.2) == 0.0


def test_double_centring_sums_to_zero() -> None:
    centred = double_centred(features(0, 6, 6) @ features(0, 6, 6).T)
    np.testing.assert_allclose(centred.sum(axis=0), 0, atol=1e-9)


def test_spearman_equals_scipy_and_knows_its_limits() -> None:
    x = np.arange(12.0)
    y = -x + features(0, 12, 1)[:, 0]
    found = spearman(x, y, seed=0)
    assert found["spearman"] == pytest.approx(spearmanr(x, y).statistic, abs=1e-6)
    assert found["p"] < 0.01
    assert found["ci"][0] <= found["spearman"] <= found["ci"][1]
    assert spearman(x[:3], y[:3], 0)["spearman"] is None
    assert spearman(x, np.ones(12), 0)["p"] is None
