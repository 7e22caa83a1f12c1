"""Samples that are the same, nearly the same, or the same in meaning: which of each group is kept."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from pipeline.curation.clusters import cluster, two_nearest
from pipeline.curation.vectors import PoolVectors

_BLOCK = 2048
_PARTS = 8  # of as many rows as are compared exhaustively
_EXHAUSTIVE = 60_000  # rows whose products are all taken; of more only those inside clusters


@dataclass(frozen=True)
class Groups:
    """Rows that belong together.

    Attributes:
        of: (N,) int64, the lowest row of the group of each row.
    """

    of: np.ndarray

    @property
    def first(self) -> np.ndarray:
        """Which rows (N,) bool are the first of their group."""
        return np.asarray(self.of == np.arange(len(self.of)))


def grouped(rows: int, one: np.ndarray, other: np.ndarray) -> Groups:
    """Groups of rows that pairs (P,) and (P,) join, also by way of others."""
    matrix = coo_matrix((np.ones(len(one), bool), (one, other)), shape=(rows, rows))
    _, labels = connected_components(matrix, directed=False)
    first = np.full(labels.max(initial=-1) + 1, rows, np.int64)
    np.minimum.at(first, labels, np.arange(rows))
    return Groups(first[labels])


def same_values(keys: np.ndarray) -> Groups:
    """Groups of rows whose keys (N,) are equal."""
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    return Groups(first[inverse].astype(np.int64))


def near_pairs(
    pool: PoolVectors, least: float, *, seed: int = 0, exhaustive: int = _EXHAUSTIVE
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (P,) and (P,) of rows, the lower first, whose cosine is at least `least`.

    All pairs of a pool of up to `exhaustive` rows; in a larger one those that share one of the two nearest clusters of
    k-means. SemDeDup (Abbas et al. 2023) looks into the nearest alone, and misses more pairs that lie across a border.
    """
    if len(pool) <= exhaustive:
        return _pairs(pool, np.arange(len(pool)), least)
    clusters = cluster(pool, max(3, _PARTS * len(pool) // exhaustive), seed)
    nearest = two_nearest(pool, clusters.centroids)
    found = [
        _pairs(pool, np.flatnonzero((nearest == group).any(axis=1)), least) for group in range(len(clusters.centroids))
    ]
    pairs = np.unique(np.concatenate([np.stack(one, axis=1) for one in found]), axis=0)
    return pairs[:, 0], pairs[:, 1]


def semantic_duplicates(pool: PoolVectors, groups: int, least: float, seed: int) -> np.ndarray:
    """Which rows (N,) bool SemDeDup drops (Abbas et al. 2023).

    Inside each k-means cluster, rows are taken from the one farthest from the centroid to the nearest; a row is dropped
    if its cosine with one before it is at least `least`. So of a group of alike rows the least typical one stays.
    """
    clusters = cluster(pool, groups, seed)
    dropped = np.zeros(len(pool), bool)
    for group in range(len(clusters.centroids)):
        inside = np.flatnonzero(clusters.of == group)
        inside = inside[np.lexsort((inside, -clusters.distance[inside]))]
        vectors = pool.unit(inside)
        for start in range(0, len(inside), _BLOCK):
            stop = min(start + _BLOCK, len(inside))
            scores = vectors[start:stop] @ vectors[:stop].T
            before = np.arange(stop) < np.arange(start, stop)[:, None]
            dropped[inside[start:stop]] = ((scores >= least) & before).any(axis=1)
    return dropped


def _pairs(pool: PoolVectors, rows: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    vectors = pool.unit(rows)
    ones, others = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for start in range(0, len(rows), _BLOCK):
        scores = vectors[start : start + _BLOCK] @ vectors[start:].T
        one, other = np.nonzero(scores >= least)
        upper = other > one
        ones.append(rows[start + one[upper]])
        others.append(rows[start + other[upper]])
    return np.concatenate(ones), np.concatenate(others)
