"""A closed-form probe: held-out recall of CCA between two frozen spaces, as a predictor of what alignment will reach.

Similarities describe two spaces; the probe aligns them, in the time of one. Families are dealt into folds. For each
fold regularised CCA (Hotelling 1936) is fitted to the pairs of the other folds: both sides whitened by
(C + shrink * mean variance)^(-1/2), then the singular vectors of the whitened cross-covariance, each weighted by its
correlation. The images and texts of the fold are ranked against each other by cosine, both ways. This is the closed
form `cca` with `shrink: 1.0`, the first half of the default recipe; no hyperparameter is searched.

Shapes: N pairs, D and E the widths of two spaces.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.errors import DataError
from pipeline.similarity.spaces import check_pair, unit_rows

MAX_PAIRS = 10_000
FOLDS = 5
SHRINK = 1.0  # as in the default recipe
_LEAST_FAMILIES = 2


@dataclass(frozen=True)
class Probe:
    """Where each pair came in the ranking of its fold.

    Attributes:
        rows: (M,) int64, which of the pairs were used: all, or `MAX_PAIRS` evenly spaced ones.
        ranks: (2, M) int64 from 1, of the right text for each image and of the right image for each text; ties count
            as before the right one.
        candidates: (M,) int64, how many there were to choose from.
    """

    rows: np.ndarray
    ranks: np.ndarray
    candidates: np.ndarray

    def hits(self, k: int) -> np.ndarray:
        """Mean over both directions of being among the first k, (M,) in {0, .5, 1}: the items to resample."""
        return np.asarray((self.ranks <= k).mean(axis=0))

    def recall(self, k: int) -> float:
        """Recall at k, the mean of both directions."""
        return float(self.hits(k).mean())

    def chance(self, k: int) -> float:
        """The recall at k of random rankings."""
        return float(np.minimum(1.0, k / self.candidates).mean())

    def reciprocal(self) -> np.ndarray:
        """Mean over both directions of 1 / rank, (M,): its mean is the mean reciprocal rank."""
        return np.asarray((1 / self.ranks).mean(axis=0))

    def chance_reciprocal(self) -> float:
        """The mean reciprocal rank of random rankings: of c candidates the c-th harmonic number over c."""
        harmonic = np.cumsum(1 / np.arange(1, self.candidates.max() + 1))
        return float((harmonic[self.candidates - 1] / self.candidates).mean())


@dataclass(frozen=True)
class _Whitened:
    """One side in the coordinates of one fold: training and test rows, whitened, (n, r) float64."""

    train: np.ndarray
    test: np.ndarray


def cca_probe(
    x_ND: np.ndarray, y_NE: np.ndarray, families: np.ndarray, folds: int = FOLDS, seed: int = 0, shrink: float = SHRINK
) -> Probe:
    """Held-out ranks of CCA between two spaces.

    Args:
        x_ND, y_NE: row i of both is one pair; repeated texts should be left out before.
        families: (N,) the concept family of each pair; a family is never on both sides of a split.
        folds: at most as many as there are families.
        seed: of the dealing of families.
        shrink: of the whitening of both sides.

    Raises:
        DataError: as `check_pair`; or there are fewer than 2 families.
    """
    rows = _at_most(len(families))
    return probe_all([x_ND], [y_NE], rows, deal_families(families[rows], folds, seed), shrink)[0][0]


def probe_all(
    xs: Sequence[np.ndarray], ys: Sequence[np.ndarray], rows: np.ndarray, fold: np.ndarray, shrink: float = SHRINK
) -> list[list[Probe]]:
    """`cca_probe` of every x with every y on the same folds; each space is whitened once per fold.

    Args:
        rows: (M,) int64, the pairs to use.
        fold: (M,) the fold of each, as `deal_families` gives it.

    Raises:
        DataError: as `check_pair`.
    """
    for x in xs:
        for y in ys:
            check_pair(x, y, 4)
    ranks = np.zeros((len(xs), len(ys), 2, len(rows)), dtype=np.int64)
    candidates = np.zeros(len(rows), dtype=np.int64)
    for number in np.unique(fold):
        test = fold == number
        first, second = ([_whiten(np.asarray(s[rows], np.float64), test, shrink) for s in side] for side in (xs, ys))
        for i, image in enumerate(first):
            for j, text in enumerate(second):
                ranks[i, j][:, test] = _ranks(image, text)
        candidates[test] = test.sum()
    return [[Probe(rows, of_pair, candidates) for of_pair in of_x] for of_x in ranks]


def _at_most(n: int) -> np.ndarray:
    """All of n pairs, or `MAX_PAIRS` evenly spaced ones."""
    return np.unique(np.linspace(0, n - 1, min(n, MAX_PAIRS)).astype(np.int64))


def deal_families(families: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """The fold of each row, (N,) int64: families in random order, large ones first, each to the smallest fold.

    Raises:
        DataError: there are fewer than 2 families.
    """
    names, family, counts = np.unique(families.astype(str), return_inverse=True, return_counts=True)
    if len(names) < _LEAST_FAMILIES:
        raise DataError(f"the probe holds out families and needs at least 2, found {len(names)}. Add samples.")
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-counts[order], kind="stable")]
    sizes, fold_of = np.zeros(min(folds, len(names)), dtype=np.int64), np.empty(len(names), dtype=np.int64)
    for name in order:
        fold_of[name] = int(sizes.argmin())
        sizes[fold_of[name]] += counts[name]
    return np.asarray(fold_of[family])


def _whiten(x_ND: np.ndarray, test: np.ndarray, shrink: float) -> _Whitened:
    """Both parts in the principal axes of the training rows, each axis over the root of its shrunk variance."""
    mean = x_ND[~test].mean(axis=0)
    train, held = x_ND[~test] - mean, x_ND[test] - mean
    width = train.shape[1]
    if width < len(train):
        variance, axes = np.linalg.eigh(train.T @ train / len(train))
    else:
        _, singular, rows = np.linalg.svd(train, full_matrices=False)
        variance, axes = singular**2 / len(train), rows.T
    scale = 1 / np.sqrt(np.maximum(variance, 0.0) + shrink * max(variance.sum() / width, np.finfo(np.float64).tiny))
    return _Whitened(train @ axes * scale, held @ axes * scale)


def _ranks(x: _Whitened, y: _Whitened) -> np.ndarray:
    left, correlation, right = np.linalg.svd(x.train.T @ y.train / len(x.train), full_matrices=False)
    cosine = unit_rows(x.test @ (left * correlation)) @ unit_rows(y.test @ (right.T * correlation)).T
    own = np.diag(cosine).copy()
    return np.stack([(cosine >= own[:, None]).sum(axis=1), (cosine >= own[None, :]).sum(axis=0)])
