"""Similarity of unrelated images and texts: the rows of texts are shuffled.

CKA and mutual-kNN have chance levels that depend on width, on the number of samples and on outliers; against these
nulls they are put on one scale (permutation calibration, as in "An Aristotelian view" of 2026 on representational
convergence). All candidates see the same permutations, so that the null of the largest of several
candidates is the largest under each permutation.

Shapes: N samples, P permutations, I image candidates, T text candidates, k neighbours. Both measures are inner products
of an (N, N) matrix of images with one of texts, in which a permutation moves rows and columns together: no feature is
touched again.
"""

from collections.abc import Iterator, Sequence

import numpy as np

_CELLS_AT_ONCE = 1 << 23


def permutations(n: int, count: int, seed: int) -> np.ndarray:
    """Permutations of n samples, (count, n) int64."""
    generator = np.random.default_rng(seed)
    return np.stack([generator.permutation(n) for _ in range(count)])


def cka_null(images: Sequence[np.ndarray], texts: Sequence[np.ndarray], orders_PN: np.ndarray) -> np.ndarray:
    """CKA of every pair of candidates under every permutation of the texts, (P, I, T) float64.

    Args:
        images, texts: centred Gram matrices (N, N) of unit Frobenius norm; float32 is exact enough here.
        orders_PN: `permutations`.
    """
    stacked = np.stack([image.ravel() for image in images])
    values = []
    for orders in _batches(orders_PN, len(texts)):
        shuffled = [text[order][:, order].ravel() for order in orders for text in texts]
        values.append((stacked @ np.stack(shuffled).T).T.reshape(len(orders), len(texts), len(images)))
    return np.concatenate(values).transpose(0, 2, 1).astype(np.float64)


def knn_null(images: Sequence[np.ndarray], texts: Sequence[np.ndarray], orders_PN: np.ndarray) -> np.ndarray:
    """mutual-kNN of every pair of candidates under every permutation of the texts, (P, I, T) float64.

    Args:
        images: membership matrices (N, N) bool.
        texts: neighbours (N, k) int64.
        orders_PN: `permutations`, as for `cka_null`: sample i gets the text of sample order[i].
    """
    cells = np.stack(images, axis=-1)  # (N, N, I): one look-up serves all image candidates
    n, k = texts[0].shape
    rows = np.repeat(np.arange(n), k)
    values = np.empty((len(orders_PN), len(images), len(texts)))
    for number, order in enumerate(orders_PN):
        place = np.empty(n, dtype=np.int64)
        place[order] = np.arange(n)
        for column, neighbours in enumerate(texts):
            shared = cells[rows, place[neighbours[order]].ravel()]
            values[number, :, column] = np.count_nonzero(shared, axis=0) / (n * k)
    return values


def p_value(value: float, null_P: np.ndarray) -> float:
    """Share of the null that is at least as large, counting the value itself: (1 + count) / (1 + P)."""
    return float((1 + (null_P >= value).sum()) / (1 + len(null_P)))


def calibrated(value: float, threshold: float) -> float:
    """How far the value stands above the threshold of its null, as a share of the way from there to 1; else 0."""
    return max(0.0, (value - threshold) / (1 - threshold)) if threshold < 1 else 0.0


def _batches(orders_PN: np.ndarray, texts: int) -> Iterator[np.ndarray]:
    """A few permutations at a time, so that the shuffled matrices stay small."""
    n = orders_PN.shape[1]
    step = max(1, _CELLS_AT_ONCE // (n * n * texts))
    return (orders_PN[start : start + step] for start in range(0, len(orders_PN), step))
