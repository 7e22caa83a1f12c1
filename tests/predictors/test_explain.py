"""Correlations over grids of encoders against loops over scipy, and against values by hand."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from pipeline.predictors.explain import correlation, explained, partial_correlation

SEED = np.random.default_rng(0)
X, Y = SEED.normal(size=(4, 5)), SEED.normal(size=(4, 5))


def rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    return float(spearmanr(x, y).statistic)


def test_scopes_are_means_of_scipys_spearman_within_encoders() -> None:
    within_images = np.mean([rank_correlation(x, y) for x, y in zip(X, Y, strict=True)])
    within_texts = np.mean([rank_correlation(x, y) for x, y in zip(X.T, Y.T, strict=True)])
    assert correlation(X, Y, "texts") == pytest.approx(within_images)
    assert correlation(X, Y, "images") == pytest.approx(within_texts)
    assert correlation(X, Y, "pairs") == pytest.approx(rank_correlation(X.ravel(), Y.ravel()))


def test_two_encoders_are_not_correlated_over() -> None:
    assert correlation(X[:, :2], Y[:, :2], "texts") is None
    assert correlation(X[:2], Y[:2], "images") is None
    assert correlation(X[:, :2], Y[:, :2], "images") is not None


def test_partial_correlation_is_that_of_the_textbook() -> None:
    """One group, one control: (r_xy - r_xz r_yz) / sqrt((1 - r_xz^2)(1 - r_yz^2)) on ranks."""
    x, y, z = (np.random.default_rng(seed).normal(size=(1, 7)) for seed in (1, 2, 3))
    xy, xz, yz = (rank_correlation(a[0], b[0]) for a, b in ((x, y), (x, z), (y, z)))
    expected = (xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2))
    assert partial_correlation(x, y, [z], "texts") == pytest.approx(expected)


def test_a_predictor_that_is_the_control_explains_nothing_beyond_it() -> None:
    size = np.tile(np.arange(6.0), (3, 1))
    outcome = size + np.random.default_rng(4).normal(size=size.shape)
    assert correlation(size, outcome, "texts") == pytest.approx(
        np.mean([rank_correlation(a, b) for a, b in zip(size, outcome, strict=True)])
    )
    assert partial_correlation(size**3, outcome, [size], "texts") is None


def test_controls_that_use_up_the_encoders_leave_no_partial_correlation() -> None:
    sizes = [np.tile(np.random.default_rng(seed).normal(size=4), (3, 1)) for seed in (5, 6)]
    assert partial_correlation(X[:3, :4], Y[:3, :4], sizes, "texts") is None
    assert partial_correlation(X[:3, :4], Y[:3, :4], sizes[:1], "texts") is not None


def record(predictors: dict[str, np.ndarray], outcome: np.ndarray, scope: str) -> dict[str, dict[str, object]]:
    return {str(r["predictor"]): r for r in explained(predictors, outcome, [], scope, seed=0)}


def test_a_perfect_predictor_has_the_p_value_of_its_permutations_and_no_regret() -> None:
    outcome = np.array([[0.1, 0.2, 0.4], [0.2, 0.3, 0.5]])
    found = record({"cka": outcome * 2 + 1, "worst": -outcome}, outcome, "texts")
    assert found["cka"]["spearman"] == 1
    assert found["cka"]["p"] == pytest.approx(2 / 6, abs=1e-4)  # of six orders of three, the same and the reverse
    assert found["cka"]["regret"] == 0
    # the worst text encoder: 1 - .1/.4 and 1 - .2/.5; a random one: means of (.75, .5, 0) and (.6, .4, 0)
    assert found["worst"]["regret"] == pytest.approx((0.75 + 0.6) / 2, abs=1e-4)
    assert found["worst"]["regret_chance"] == pytest.approx((1.25 / 3 + 1.0 / 3) / 2, abs=1e-4)
    assert found["worst"]["reference_minus"] == 2


def test_a_predictor_that_is_not_known_everywhere_is_left_out() -> None:
    holes = X.copy()
    holes[1, 2] = np.nan
    assert set(record({"cka": X, "holes": holes}, Y, "pairs")) == {"cka"}


def test_unrelated_predictors_are_not_established() -> None:
    """Of 60 pairs of independent grids, about one in twenty has a permutation p of .05 or less."""
    generator = np.random.default_rng(7)
    grids = [(generator.normal(size=(3, 5)), generator.normal(size=(3, 5))) for _ in range(60)]
    small = sum(float(str(record({"cka": x}, y, "texts")["cka"]["p"])) <= 0.05 for x, y in grids)
    assert small <= 8
