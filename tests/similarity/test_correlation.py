"""Rank correlation against scipy."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from pipeline.similarity.correlation import spearman


def test_spearman_equals_scipy_and_knows_its_limits() -> None:
    x = np.arange(12.0)
    y = -x + np.random.default_rng(0).normal(size=12)
    found = spearman(x, y, seed=0)
    assert found["spearman"] == pytest.approx(spearmanr(x, y).statistic, abs=1e-6)
    assert found["p"] < 0.01
    assert found["ci"][0] <= found["spearman"] <= found["ci"][1]
    assert spearman(x[:3], y[:3], 0)["spearman"] is None
    assert spearman(x, np.ones(12), 0)["p"] is None
