"""Ranks, the metrics counted from them, and their exact chance levels.

Rows are queries, columns candidates; a query may have several positives, and a candidate may be the positive of several
queries. Example: scores [[.9, .1], [.8, .2]] with positives 0 and 1 give ranks [1, 2], so recall@1 is
0.5.

Ties count against the system: a negative that scores as high as the best positive ranks before it, so a constant score
earns nothing.
"""

from collections.abc import Callable

import numpy as np

_CHUNK_SCORES = 1 << 24  # scores held at once: 64 MB in float32


def first_hit_ranks(
    queries: np.ndarray,
    candidates: np.ndarray,
    positives: np.ndarray,
    rescore: Callable[[np.ndarray], np.ndarray] | None = None,
) -> np.ndarray:
    """Rank of the best-placed positive of each query.

    Queries are taken in chunks, so the full matrix of scores never exists.

    Args:
        queries: (Q, K) float; scores are inner products, cosines if both are unit vectors.
        candidates: (C, K) float.
        positives: (P, 2) int64, query and candidate of each positive pair; every query occurs.
        rescore: what is made of the scores (q, C) of some queries before they are ranked; None for nothing.

    Returns:
        (Q,) int64 from 1; 1 plus the number of negatives that score at least as high.

    Raises:
        ValueError: a vector is not finite, or a query has no positive.
    """
    if not (_all_finite(queries) and _all_finite(candidates)):
        raise ValueError("vectors to rank must be finite; NaN or infinity was found")
    positives = positives[np.argsort(positives[:, 0], kind="stable")]
    counts = np.bincount(positives[:, 0], minlength=len(queries))
    if len(counts) != len(queries) or (counts == 0).any():
        raise ValueError("every query needs at least one positive, and every positive pair a query")
    starts = np.concatenate([[0], np.cumsum(counts)])
    ranks = np.empty(len(queries), dtype=np.int64)
    step = max(1, _CHUNK_SCORES // max(1, len(candidates)))
    for first in range(0, len(queries), step):
        last = min(first + step, len(queries))
        scores = queries[first:last] @ candidates.T
        if rescore is not None:
            scores = rescore(scores)
        pairs = positives[starts[first] : starts[last]]
        rows, columns = pairs[:, 0] - first, pairs[:, 1]
        best = np.full(last - first, -np.inf, dtype=scores.dtype)
        np.maximum.at(best, rows, scores[rows, columns])
        scores[rows, columns] = -np.inf
        ranks[first:last] = 1 + (scores >= best[:, None]).sum(axis=1)
    return ranks


def _all_finite(vectors: np.ndarray) -> bool:
    return all(bool(np.isfinite(vectors[start : start + 4096]).all()) for start in range(0, len(vectors), 4096))


def positive_counts(positives: np.ndarray, queries: int) -> np.ndarray:
    """Number of distinct positives per query, (Q,) int64, from pairs (P, 2)."""
    return np.bincount(np.unique(positives, axis=0)[:, 0], minlength=queries)


def hits_at(ranks: np.ndarray, k: int) -> np.ndarray:
    """1.0 where a positive is among the first k, else 0.0: (Q,) float64. Its mean is recall@k, or top-k accuracy."""
    return (ranks <= k).astype(np.float64)


def chance_at(counts: np.ndarray, candidates: int, k: int) -> np.ndarray:
    """Probability that a random order puts a positive among the first k, (Q,) float64, exactly.

    Hypergeometric: 1 - C(C - r, k) / C(C, k) for r positives among C candidates, as a product of k factors.

    Args:
        counts: (Q,) int64, positives of each query.
        candidates: C.
    """
    different, place = np.unique(counts, return_inverse=True)  # a few, of however many queries
    drawn = np.arange(min(k, candidates))
    negatives_left = np.maximum(candidates - different[:, None] - drawn[None, :], 0)
    missed: np.ndarray = np.prod(negatives_left / (candidates - drawn)[None, :], axis=1)
    return (1.0 - missed)[place]


def chance_median_rank(counts: np.ndarray, candidates: int) -> int:
    """Median rank under random orders: the least k at which the expected recall@k reaches one half."""
    low, high = 1, candidates
    while low < high:
        middle = (low + high) // 2
        if chance_at(counts, candidates, middle).mean() >= 0.5:
            high = middle
        else:
            low = middle + 1
    return low
