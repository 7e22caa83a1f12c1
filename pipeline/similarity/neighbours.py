"""Agreement of nearest neighbours: mutual-kNN (Huh et al. 2024, arXiv 2405.07987).

Shapes: N samples, D the width of a space, k neighbours. Neighbours are those of highest cosine; a sample is not its
own.
"""

import numpy as np


def unit_rows(x_ND: np.ndarray) -> np.ndarray:
    """Rows brought to unit length, (N, D) float64; a zero row stays zero."""
    x_ND = x_ND.astype(np.float64)
    norm_N = np.linalg.norm(x_ND, axis=1, keepdims=True)
    return np.asarray(x_ND / np.where(norm_N > 0, norm_N, 1.0))


def nearest(x_ND: np.ndarray, k: int) -> np.ndarray:
    """The k nearest other samples of each, (N, k) int64 in ascending order of their number.

    Raises:
        ValueError: there are not more than k samples.
    """
    if not 0 < k < len(x_ND):
        raise ValueError(f"{k} neighbours need more than {k} samples, found {len(x_ND)}")
    unit_ND = unit_rows(x_ND)
    cosine_NN = unit_ND @ unit_ND.T
    np.fill_diagonal(cosine_NN, -np.inf)
    return np.sort(np.argpartition(-cosine_NN, k - 1, axis=1)[:, :k], axis=1)


def membership(neighbours_Nk: np.ndarray) -> np.ndarray:
    """(N, N) bool: entry (i, j) says that j is among the neighbours of i."""
    inside = np.zeros((len(neighbours_Nk), len(neighbours_Nk)), dtype=bool)
    np.put_along_axis(inside, neighbours_Nk, True, axis=1)
    return inside


def overlap(first_Nk: np.ndarray, second_Nk: np.ndarray) -> np.ndarray:
    """Share of each sample's neighbours that two spaces have in common, (N,) float64; its mean is mutual-kNN."""
    return np.asarray(np.take_along_axis(membership(first_Nk), second_Nk, axis=1).mean(axis=1))


def mutual_knn(x_ND: np.ndarray, y_NE: np.ndarray, k: int) -> float:
    """Mean share of common neighbours, in [0, 1]. Chance is exactly `chance(N, k)`."""
    return float(overlap(nearest(x_ND, k), nearest(y_NE, k)).mean())


def chance(n: int, k: int) -> float:
    """Expectation of mutual-kNN when samples are paired at random: each of k neighbours is hit with k / (n - 1)."""
    return k / (n - 1)
