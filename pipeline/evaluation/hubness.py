"""Hubness correction: scores of candidates that are near to very many queries are lowered.

In spaces of many dimensions some candidates are among the nearest of far more queries than others (Radovanovic et al.,
JMLR 2010). What a correction knows of that comes from a bank of queries, and from the gallery of candidates.

Shapes: Q queries, C candidates, B queries of the bank, K the shared width.
"""

from collections.abc import Callable

import numpy as np

from pipeline.config import Correction

Rescore = Callable[[np.ndarray], np.ndarray]
_CHUNK_SCORES = 1 << 24  # scores held at once: 64 MB in float32


def correction(method: Correction, bank: np.ndarray, candidates: np.ndarray, neighbours: int, scale: float) -> Rescore:
    """From plain cosines (Q, C) to corrected scores (Q, C).

    Args:
        method: "csls" (Conneau et al., ICLR 2018): 2 cos - r, where r of a candidate is its mean cosine with the
            `neighbours` queries of the bank that are nearest to it. The published term of the query itself is left out,
            since it moves all its candidates alike and changes no rank.
            "inverted-softmax" (Smith et al., ICLR 2017): the softmax of scaled cosines over the queries of the bank in
            place of that over candidates, as a logarithm.
            "dual-softmax" (Cheng et al., arXiv 2109.04290): the cosine times that softmax.
        bank: (B, K) unit vectors; with the test queries among them the softmaxes are the published ones, with other
            queries those of querybank normalisation (Bogolin et al., CVPR 2022).
        candidates: (C, K) unit vectors.
        scale: what cosines are multiplied by before a softmax.

    Raises:
        ValueError: the bank is empty.
    """
    if not len(bank):
        raise ValueError("a correction needs at least one query in its bank")
    statistic_C = np.empty(len(candidates), dtype=np.float64)
    step = max(1, _CHUNK_SCORES // len(bank))
    for first in range(0, len(candidates), step):
        cosines = (bank @ candidates[first : first + step].T).astype(np.float64)
        part = _nearest_mean(cosines, neighbours) if method == "csls" else _log_sum(scale * cosines)
        statistic_C[first : first + step] = part
    if method == "csls":
        return lambda scores: 2 * scores - statistic_C
    if method == "inverted-softmax":
        return lambda scores: scale * scores - statistic_C
    return lambda scores: scores * np.exp(scale * scores - statistic_C)


def _nearest_mean(cosines_BC: np.ndarray, neighbours: int) -> np.ndarray:
    """Of each column the mean of its `neighbours` largest values, (C,); of all where there are fewer."""
    kept = min(neighbours, len(cosines_BC))
    largest = np.partition(cosines_BC, len(cosines_BC) - kept, axis=0)[len(cosines_BC) - kept :]
    mean: np.ndarray = largest.mean(axis=0)
    return mean


def _log_sum(logits_BC: np.ndarray) -> np.ndarray:
    """log sum exp of each column, (C,)."""
    highest = logits_BC.max(axis=0)
    total: np.ndarray = highest + np.log(np.exp(logits_BC - highest).sum(axis=0))
    return total
