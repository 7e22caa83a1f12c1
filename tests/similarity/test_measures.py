"""Every measure against its definition on full Gram matrices, and against public packages."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import ckatorch.core
import numpy as np
import pytest
import torch
from ckatorch.hsic import hsic0, hsic1

from pipeline.errors import DataError
from pipeline.similarity import cka as linear
from pipeline.similarity import hsic, spaces
from pipeline.similarity.cka import linear_cka, unbiased_linear_cka
from pipeline.similarity.neighbours import cknna
from pipeline.similarity.rbf import rbf_cka, rbf_cka_biased
from pipeline.similarity.registry import MEASURES

Kernel = Callable[[np.ndarray], np.ndarray]
ALL = sorted(MEASURES)


def features(seed: int, n: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, width))


def related(n: int, d: int, e: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = features(1, n, d) + 3.0, features(2, n, e)
    y[:, :2] += x[:, :2]
    return x, y


def inner(x: np.ndarray) -> np.ndarray:
    return np.asarray(x @ x.T)


def gaussian(x: np.ndarray) -> np.ndarray:
    squares = np.array([[((a - b) ** 2).sum() for b in x] for a in x])
    return np.asarray(np.exp(-squares / (2 * 0.5**2 * np.median(squares))))


def slow_biased(k: np.ndarray, m: np.ndarray) -> float:
    """By the definition: tr(KHLH)."""
    h = np.eye(len(k)) - 1 / len(k)
    return float(np.trace(k @ h @ m @ h))


def slow_unbiased(k: np.ndarray, m: np.ndarray) -> float:
    """Song et al. (2012), eq. 5, term by term."""
    n, one = len(k), np.ones(len(k))
    k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
    first = np.trace(k @ m)
    second = (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
    return float(first + second - 2 / (n - 2) * (one @ k @ m @ one)) / (n * (n - 3))


def slow_cka(x: np.ndarray, y: np.ndarray, kernel: Kernel, criterion: Callable[..., float]) -> float:
    k, m = kernel(x), kernel(y)
    return criterion(k, m) / float(np.sqrt(criterion(k, k) * criterion(m, m)))


@pytest.mark.parametrize(("n", "d", "e"), [(12, 3, 5), (9, 20, 4), (30, 8, 40), (200, 16, 12)])
@pytest.mark.parametrize("cells", [40, 1 << 20])  # blocks of a few rows, and one of all
def test_every_cka_equals_its_definition(n: int, d: int, e: int, cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spaces, "_CELLS_AT_ONCE", cells)
    monkeypatch.setattr(hsic, "_CELLS_AT_ONCE", cells)
    x, y = related(n, d, e)
    assert linear_cka(x, y) == pytest.approx(slow_cka(x, y, inner, slow_biased), abs=1e-9)
    assert unbiased_linear_cka(x, y) == pytest.approx(slow_cka(x, y, inner, slow_unbiased), abs=1e-9)
    assert rbf_cka_biased(x, y) == pytest.approx(slow_cka(x, y, gaussian, slow_biased), abs=1e-9)
    assert rbf_cka(x, y) == pytest.approx(slow_cka(x, y, gaussian, slow_unbiased), abs=1e-9)


@pytest.mark.parametrize(("n", "d", "e"), [(40, 6, 9), (25, 60, 8)])
def test_cka_equals_a_public_package(n: int, d: int, e: int) -> None:
    """ckatorch 1.0.3 by A. Ristori, on full Gram matrices."""
    x, y = related(n, d, e)
    a, b = torch.from_numpy(x), torch.from_numpy(y)
    assert linear_cka(x, y) == pytest.approx(float(ckatorch.core.cka_base(a, b, kernel="linear")), abs=1e-6)
    grams = [(z @ z.T)[None] for z in (a, b)]
    across, first, second = (float(hsic1(g, h)) for g, h in (grams, grams[:1] * 2, grams[1:] * 2))
    assert unbiased_linear_cka(x, y) == pytest.approx(across / np.sqrt(first * second), abs=1e-6)
    kernels = [torch.from_numpy(gaussian(z)) for z in (x, y)]
    across, first, second = (float(hsic0(g, h)) for g, h in (kernels, kernels[:1] * 2, kernels[1:] * 2))
    assert rbf_cka_biased(x, y) == pytest.approx(across / np.sqrt(first * second), abs=1e-6)


def test_cknna_equals_the_authors_algorithm() -> None:
    """metrics.py of platonic-rep, on full matrices: masked kernels, then unbiased HSIC of asymmetric ones."""
    x, y = related(50, 6, 8)

    def masked(z: np.ndarray, others: list[np.ndarray]) -> np.ndarray:
        kernel = inner(z / np.linalg.norm(z, axis=1, keepdims=True))
        for other in others:
            cosine = inner(other / np.linalg.norm(other, axis=1, keepdims=True))
            np.fill_diagonal(cosine, -np.inf)
            mask = np.zeros_like(cosine)
            np.put_along_axis(mask, np.argsort(-cosine, axis=1)[:, :7], 1.0, axis=1)
            kernel = kernel * mask
        return kernel

    across = slow_unbiased(masked(x, [x, y]), masked(y, [x, y]))
    own = slow_unbiased(masked(x, [x]), masked(x, [x])) * slow_unbiased(masked(y, [y]), masked(y, [y]))
    assert cknna(x, y, 7) == pytest.approx(across / np.sqrt(own), abs=1e-9)


def test_products_of_features_equal_gram_matrices() -> None:
    """Both ways of linear CKA, on the same spaces."""
    x, y = related(300, 20, 30)
    for hollow in (False, True):
        for few, many in zip(linear._of_features(x, y, hollow), linear._of_grams(x, y, hollow), strict=True):
            one, other = (s.unbiased() if hollow else s.biased() for s in (few, many))
            assert one == pytest.approx(other, rel=1e-9)


def test_stored_halves_are_read_as_they_are() -> None:
    x, y = (side.astype(np.float16) for side in related(60, 8, 10))
    for measure in MEASURES.values():
        assert measure(x, y) == pytest.approx(measure(x.astype(np.float64), y.astype(np.float64)), abs=1e-12)


def test_memory_of_linear_cka_does_not_grow_with_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spaces, "_CELLS_AT_ONCE", 1 << 14)
    np.save(tmp_path / "x.npy", features(0, 40_000, 8).astype(np.float16))
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    peaks = []
    for n in (4_000, 40_000):
        tracemalloc.start()
        assert unbiased_linear_cka(x[:n], x[:n]) == pytest.approx(1.0, abs=1e-9)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0] < 40_000 * 8 * 8  # float64 copies of all would take this much


@pytest.mark.parametrize("name", ["cka", "cka_biased", "rbf_cka", "rbf_cka_biased"])
def test_cka_ignores_rotation_translation_and_scale(name: str) -> None:
    x, y = related(40, 6, 6)
    rotation = np.linalg.qr(features(3, 6, 6))[0]
    assert MEASURES[name](x, 5 * x @ rotation + 2) == pytest.approx(1.0, abs=1e-9)
    assert MEASURES[name](x, y) == pytest.approx(MEASURES[name](5 * x @ rotation + 2, y), abs=1e-9)


@pytest.mark.parametrize("name", ALL)
def test_measures_are_symmetric_and_one_of_a_space_with_itself(name: str) -> None:
    x, y = related(50, 6, 9)
    reach = 0.01 if name == "cknna" else 1e-12  # masked kernels are not symmetric, as in the authors' code
    assert MEASURES[name](x, y) == pytest.approx(MEASURES[name](y, x), abs=reach)
    assert MEASURES[name](x, x) == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("n", [32, 256])
@pytest.mark.parametrize("biased", ["cka_biased", "rbf_cka_biased"])
def test_only_the_unbiased_estimate_is_zero_for_independent_features(n: int, biased: str) -> None:
    """The 99 % interval of the mean over draws holds 0 for the unbiased estimate, and not for the biased one."""
    pairs = [(features(i, n, 48), features(1000 + i, n, 48)) for i in range(40)]
    fair, unfair = (
        np.array([MEASURES[name](x, y) for x, y in pairs]) for name in (biased.removesuffix("_biased"), biased)
    )
    reach = 2.7 * np.std([fair, unfair], axis=1, ddof=1) / np.sqrt(len(pairs))
    assert abs(fair.mean()) < reach[0]
    assert unfair.mean() - reach[1] > 0.1


@pytest.mark.parametrize("name", ALL)
def test_spaces_without_similarity_are_refused(name: str) -> None:
    measure, x = MEASURES[name], features(0, 40, 6)
    broken = x.copy()
    broken[7, 2] = np.nan
    broken[9, 0] = np.inf
    with pytest.raises(DataError, match=r"y has values that are not finite .* in 2 of 40 rows, the first is row 7"):
        measure(x, broken)
    for constant in (np.full((40, 3), 0.1), np.zeros((40, 2), np.float16), np.tile(features(1, 1, 4), (40, 1))):
        with pytest.raises(DataError, match="x has the same features for all 40 samples"):
            measure(constant, x)
    with pytest.raises(DataError, match=r"shape \(40,\), expected \(samples, width\)"):
        measure(x, x[:, 0])
    with pytest.raises(DataError, match="x has 40 rows and y 39"):
        measure(x, x[1:])


def test_too_few_samples_and_too_little_variation() -> None:
    with pytest.raises(DataError, match="at least 4 samples, found 3"):
        unbiased_linear_cka(features(0, 3, 2), features(1, 3, 2))
    outlier = np.zeros((30, 4))
    outlier[3] = 1.0
    with pytest.raises(DataError, match="similarity of x to itself is zero"):
        unbiased_linear_cka(outlier, features(0, 30, 4))
    with pytest.raises(DataError, match="median distance of two samples of y is zero"):
        rbf_cka(features(0, 30, 4), outlier)
    with pytest.raises(DataError, match="at least 2 neighbours"):
        cknna(features(0, 30, 4), features(1, 30, 4), 1)
