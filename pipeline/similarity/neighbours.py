"""Agreement of nearest neighbours: mutual-kNN and CKNNA (Huh et al. 2024, arXiv 2405.07987).

Shapes: N samples, D and E the widths of two spaces, k neighbours. Neighbours are those of highest cosine; a sample is
not its own.

Ties: where several samples are as near as the k-th, each of them counts as a neighbour with the probability that a fair
draw among them takes it. Values are therefore expectations over independent draws on both sides, and do not depend on
the order of the samples: five-fold copies of everything agree to 0.5 at k = 2, while neighbours taken in the order of
their index would agree to 1.
"""

import numpy as np
from scipy.sparse import coo_array, csr_array

from pipeline.errors import DataError
from pipeline.similarity.hsic import KernelSums
from pipeline.similarity.spaces import check_pair, unit_rows

NEIGHBOURS = 10
_CELLS_AT_ONCE = 1 << 21
_TIE = 1e-10  # cosines of float64 unit vectors that differ by less are equal up to rounding


def neighbour_weights(x_ND: np.ndarray, k: int) -> csr_array:
    """The probability that j is among the k nearest others of i, (N, N) sparse float64; rows sum to k.

    It is 1 for samples nearer than the k-th, and the free places over the tied samples for those as near as it. Cosines
    are computed in blocks of rows: memory is that of a block and of N k numbers, time grows with N^2.

    Raises:
        DataError: there are not more than k samples.
    """
    n = len(x_ND)
    if not 0 < k < n:
        raise DataError(f"{k} neighbours need more than {k} samples, found {n}. Lower the neighbours, or add samples.")
    unit_ND = unit_rows(x_ND)
    step = max(1, _CELLS_AT_ONCE // n)
    rows, columns, weights = [], [], []
    for start in range(0, n, step):
        cosine = unit_ND[start : start + step] @ unit_ND.T
        place = np.arange(len(cosine))
        cosine[place, place + start] = -np.inf
        bound = np.partition(cosine, n - k, axis=1)[:, n - k, None]
        nearer, tied = cosine > bound + _TIE, np.abs(cosine - bound) <= _TIE
        share = (k - nearer.sum(axis=1)) / tied.sum(axis=1)
        row, column = np.nonzero(nearer | tied)
        rows.append(row + start)
        columns.append(column)
        weights.append(np.where(nearer[row, column], 1.0, share[row]))
    entries = np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns))
    return csr_array(coo_array(entries, shape=(n, n)))


def overlap(first_NN: csr_array, second_NN: csr_array, k: int) -> np.ndarray:
    """Expected share of each sample's neighbours that two spaces have in common, (N,); its mean is mutual-kNN.

    Args:
        first_NN, second_NN: `neighbour_weights` of both spaces for the same k.
    """
    return np.asarray(first_NN.multiply(second_NN).sum(axis=1)).ravel() / k


def mutual_knn(x_ND: np.ndarray, y_NE: np.ndarray, k: int = NEIGHBOURS) -> float:
    """Mean share of common neighbours, in [0, 1]. Chance is exactly `chance(N, k)`.

    Raises:
        DataError: as `check_pair`; or there are not more than k samples.
    """
    check_pair(x_ND, y_NE, 2)
    return float(overlap(neighbour_weights(x_ND, k), neighbour_weights(y_NE, k), k).mean())


def chance(n: int, k: int) -> float:
    """Expectation of mutual-kNN when samples are paired at random: each of k neighbours is hit with k / (n - 1)."""
    return k / (n - 1)


def cknna(x_ND: np.ndarray, y_NE: np.ndarray, k: int = NEIGHBOURS) -> float:
    """CKA over common nearest neighbours alone: cosine kernels with all but mutual neighbours set to zero.

    As in the authors' code (metrics.py of platonic-rep): entries (i, j) of both kernels stay where j is among the k
    nearest of i in both spaces, and unbiased HSIC is taken of what stays; HSIC of a space with itself keeps its own
    neighbours. Their 1e-6 in the denominator, which is not small beside these sums, is left out. Entries of tied
    neighbours count with their probability. Masked kernels are not symmetric, so x and y exchanged give a slightly
    different value, as they do there.

    Raises:
        DataError: as `check_pair`; there are not more than k samples; k is below 2; or no sample of a space is among
            the nearest of its nearest.
    """
    if k < 2:
        raise DataError(f"CKNNA needs at least 2 neighbours, found {k}. Raise the neighbours.")
    check_pair(x_ND, y_NE, 4)
    x, y = unit_rows(x_ND), unit_rows(y_NE)
    near_x, near_y = neighbour_weights(x_ND, k), neighbour_weights(y_NE, k)
    across = _masked_hsic(near_x.multiply(near_y), x, y)
    own = _masked_hsic(near_x.multiply(near_x), x, x), _masked_hsic(near_y.multiply(near_y), y, y)
    for side, value in zip("xy", own, strict=True):
        if value <= 0:
            raise DataError(
                f"the similarity of {side} to itself over its {k} nearest neighbours is {value:.3g}, expected above 0: "
                "hardly any sample is among the nearest of its nearest. Raise the neighbours."
            )
    return across / float(np.sqrt(own[0]) * np.sqrt(own[1]))


def _masked_hsic(mask_NN: csr_array, x_ND: np.ndarray, y_NE: np.ndarray) -> float:
    """Unbiased HSIC (times N (N - 3)) of two kernels of unit rows, each entry multiplied by the mask."""
    mask = coo_array(mask_NN)
    row, column = mask.coords
    first, second = (_entries(z, row, column) * mask.data for z in (x_ND, y_NE))
    shape, place = mask.shape, (row, column)
    inner = float(csr_array((first, place), shape=shape).multiply(csr_array((second, place), shape=shape).T).sum())
    # 1^T K L 1 pairs the column sums of K with the row sums of L: masked kernels are not symmetric.
    n = shape[0]
    rows = float(np.bincount(column, first, n) @ np.bincount(row, second, n))
    return KernelSums(n, inner, rows, float(first.sum() * second.sum())).unbiased()


def _entries(x_ND: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Inner products of the rows named, in blocks."""
    step = max(1, _CELLS_AT_ONCE // x_ND.shape[1])
    parts = [
        np.einsum("ij,ij->i", x_ND[row[start : start + step]], x_ND[column[start : start + step]])
        for start in range(0, len(row), step)
    ]
    return np.concatenate(parts) if parts else np.zeros(0)
