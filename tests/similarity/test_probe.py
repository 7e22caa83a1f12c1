"""The closed-form probe against the closed form of the aligner, its chance level, and how families are held out."""

import numpy as np
import pytest
import torch

from pipeline.alignment.closed_form.linear import cca
from pipeline.alignment.closed_form.moments import MomentSums
from pipeline.errors import DataError
from pipeline.similarity import probe as module
from pipeline.similarity.probe import cca_probe, deal_families


def features(seed: int, n: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, width))


def related(n: int, d: int, e: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x = features(1, n, d) + 2.0
    return x, x @ features(2, d, e) + 2 * features(3, n, e), np.repeat(np.arange(n), 3)[:n].astype(str)


@pytest.mark.parametrize(("d", "e"), [(6, 9), (90, 8)])  # fewer dimensions than training pairs, and more
def test_ranks_are_those_of_the_aligners_cca(d: int, e: int) -> None:
    x, y, families = related(80, d, e)
    found = cca_probe(x, y, families, folds=4, seed=5)
    fold = deal_families(families, 4, 5)
    for number in range(4):
        train, test = fold != number, np.flatnonzero(fold == number)
        sums = MomentSums()
        sums.add(torch.from_numpy(x[train]), torch.from_numpy(y[train]))
        moments = sums.moments()
        a, b = (matrix.numpy() for matrix in cca(moments, shrink=1.0, power=1.0))
        u, v = (x[test] - moments.mean_x.numpy()) @ a, (y[test] - moments.mean_y.numpy()) @ b
        cosine = (u / np.linalg.norm(u, axis=1)[:, None]) @ (v / np.linalg.norm(v, axis=1)[:, None]).T
        for i, row in enumerate(test):
            assert found.ranks[0, row] == 1 + sum(cosine[i, j] > cosine[i, i] for j in range(len(test)))
            assert found.ranks[1, row] == 1 + sum(cosine[j, i] > cosine[i, i] for j in range(len(test)))
            assert found.candidates[row] == len(test)


def test_recall_and_chance() -> None:
    x, y, families = related(240, 10, 12)
    found = cca_probe(x, y, families)
    assert found.chance(1) == pytest.approx(5 / 240)
    assert found.chance(1000) == 1.0
    assert found.chance_reciprocal() == pytest.approx(np.mean([1 / rank for rank in range(1, 49)]))
    assert found.reciprocal().mean() == pytest.approx(np.mean(1 / found.ranks))
    assert found.recall(1) == pytest.approx((found.ranks == 1).mean())
    assert found.recall(1) > 10 * found.chance(1)
    unrelated = [cca_probe(x, features(100 + i, 240, 12), families, seed=i).recall(10) for i in range(8)]
    assert np.mean(unrelated) == pytest.approx(found.chance(10), abs=0.03)


def test_what_only_family_members_share_is_not_recalled() -> None:
    """Pairs of one family are alike and families have nothing in common: nothing can be learnt for held-out ones."""
    x, y = (np.repeat(features(seed, 40, 12), 5, axis=0) + 0.05 * features(seed + 9, 200, 12) for seed in (0, 1))
    families = np.repeat(np.arange(40), 5).astype(str)
    found = cca_probe(x, y, families)
    assert found.recall(1) < 2.5 * found.chance(1)
    leaking = cca_probe(x, y, np.arange(200).astype(str))
    assert leaking.recall(1) > 4 * leaking.chance(1)


def test_families_are_dealt_whole_and_evenly() -> None:
    families = np.repeat(np.arange(30), np.arange(30) % 5 + 1).astype(str)
    fold = deal_families(families, 5, seed=1)
    for name in np.unique(families):
        assert len(np.unique(fold[families == name])) == 1
    assert np.ptp(np.bincount(fold)) <= 1
    assert (deal_families(families, 5, seed=2) != fold).any()
    assert deal_families(np.array(["a", "b", "b"]), 5, 0).max() == 1


def test_ties_are_misses() -> None:
    x, y, families = related(60, 5, 5)
    found = cca_probe(np.repeat(x, 2, axis=0), np.repeat(y, 2, axis=0), np.repeat(families, 2))
    assert (found.ranks >= 2).all()


def test_a_limit_and_what_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, families = related(90, 5, 6)
    monkeypatch.setattr(module, "MAX_PAIRS", 30)
    found = cca_probe(x, y, families)
    assert len(found.rows) == 30
    assert (found.rows[0], found.rows[-1]) == (0, 89)
    assert found.ranks.shape == (2, 30)
    with pytest.raises(DataError, match="at least 2, found 1"):
        cca_probe(x, y, np.full(90, "one"))
    with pytest.raises(DataError, match="y has the same features"):
        cca_probe(x, np.ones((90, 2)), families)
