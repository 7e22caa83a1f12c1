"""The best images of a pool for every concept, in one pass over the pool and in bounded memory."""

from dataclasses import dataclass

import numpy as np

from pipeline.curation.pool import UnitFeatures

_BLOCK_ROWS = 65536


@dataclass(frozen=True)
class Candidates:
    """The best images of each concept, best first.

    Attributes:
        rows: (C, k) int64, positions in the pool; equal scores keep the order of the pool.
        scores: (C, k) float32 cosines.
    """

    rows: np.ndarray
    scores: np.ndarray


def retrieve(
    features: np.ndarray | UnitFeatures, prototypes: np.ndarray, k: int, block_rows: int = _BLOCK_ROWS
) -> Candidates:
    """The `k` images nearest to each prototype (all of them if the pool is smaller).

    Works block by block and keeps k rows per concept between blocks, so memory does not grow with the pool. Scores stay
    float32: the reference squeezes them to int8, where its best matches overflow.

    Args:
        features: (N, D) unit vectors; may be memory-mapped, or read when asked for.
        prototypes: (C, D) unit vectors.
    """
    concepts = len(prototypes)
    rows = np.empty((concepts, 0), dtype=np.int64)
    scores = np.empty((concepts, 0), dtype=np.float32)
    for start in range(0, len(features), block_rows):
        block = np.asarray(features[start : start + block_rows], dtype=np.float32)
        fresh = prototypes.astype(np.float32) @ block.T
        numbers = np.broadcast_to(np.arange(start, start + len(block)), fresh.shape)
        scores, rows = np.concatenate([scores, fresh], axis=1), np.concatenate([rows, numbers], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        scores, rows = np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)
    return Candidates(rows, scores)
