"""K-means of a pool in blocks, levels of it, and draws that are even over the levels."""

from dataclasses import dataclass

import numpy as np

from pipeline.curation.quotas import level_counts
from pipeline.curation.vectors import PoolVectors

_BLOCK = 16384
_NEIGHBOURS = 20  # centroids whose mean distance tells how alone a cluster is
_SAMPLE = 256  # rows of each cluster that k-means sees


@dataclass(frozen=True)
class Clusters:
    """Spherical clusters of unit vectors.

    Attributes:
        centroids: (G, D) float32, unit vectors.
        of: (N,) int32, the cluster of each row; -1 of rows that are not finite.
        distance: (N,) float32, one minus the cosine with its centroid.
    """

    centroids: np.ndarray
    of: np.ndarray
    distance: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """Rows of each cluster, (G,) int64."""
        return np.bincount(self.of[self.of >= 0], minlength=len(self.centroids))

    @property
    def intra(self) -> np.ndarray:
        """Mean distance (G,) of the rows of each cluster to its centroid."""
        known = self.of >= 0
        sums = np.bincount(self.of[known], self.distance[known].astype(np.float64), minlength=len(self.centroids))
        return np.asarray(sums / np.maximum(self.sizes, 1))

    @property
    def inter(self) -> np.ndarray:
        """Mean distance (G,) of each centroid to the 20 nearest others."""
        cosines = self.centroids.astype(np.float64) @ self.centroids.T
        np.fill_diagonal(cosines, -np.inf)
        near = np.sort(cosines, axis=1)[:, ::-1][:, : min(_NEIGHBOURS, len(cosines) - 1)]
        return 1 - near.mean(axis=1) if near.size else np.ones(len(cosines))


def cluster(pool: PoolVectors, groups: int, seed: int, iterations: int = 20) -> Clusters:
    """Spherical k-means on some rows of the pool, then the cluster of every row, in blocks.

    Args:
        groups: clusters, at most as many as rows.
    """
    rows = len(pool)
    groups = min(groups, rows)
    generator = np.random.default_rng(seed)
    some = np.sort(generator.choice(rows, size=min(rows, groups * _SAMPLE), replace=False))
    sample = pool.unit(some)
    sample = sample[np.isfinite(sample).all(axis=1)]
    centroids = kmeans(sample, groups, generator, iterations)
    of, distance = np.full(rows, -1, np.int32), np.full(rows, np.nan, np.float32)
    for start in range(0, rows, _BLOCK):
        block = pool.unit(slice(start, start + _BLOCK))
        finite = np.isfinite(block).all(axis=1)
        nearest, cosine = _nearest(block[finite], centroids)
        places = start + np.flatnonzero(finite)
        of[places], distance[places] = nearest, 1 - cosine
    return Clusters(centroids, of, distance)


def kmeans(vectors: np.ndarray, groups: int, generator: np.random.Generator, iterations: int) -> np.ndarray:
    """Unit centroids (G, D) float32 of unit vectors (n, D); an empty cluster takes the row farthest from its own."""
    groups = min(groups, len(vectors))
    centroids = vectors[np.sort(generator.choice(len(vectors), size=groups, replace=False))].copy()
    for _ in range(iterations):
        nearest, cosine = _nearest(vectors, centroids)
        order = np.argsort(nearest, kind="stable")
        present, first = np.unique(nearest[order], return_index=True)
        sums = np.add.reduceat(vectors[order].astype(np.float64), first, axis=0) if len(order) else centroids
        fresh = np.zeros(centroids.shape, np.float64)
        fresh[present] = sums
        if len(empty := np.setdiff1d(np.arange(groups), present)):
            fresh[empty] = vectors[np.argsort(cosine, kind="stable")[: len(empty)]]
        fresh /= np.maximum(np.linalg.norm(fresh, axis=1, keepdims=True), 1e-12)
        moved = float(np.abs(fresh - centroids).max(initial=0.0))
        centroids = fresh.astype(np.float32)
        if moved < 1e-6:
            break
    return centroids


def two_nearest(pool: PoolVectors, centroids: np.ndarray) -> np.ndarray:
    """The two nearest centroids (N, 2) int64 of each row, nearest first."""
    out = np.empty((len(pool), 2), np.int64)
    for start in range(0, len(pool), _BLOCK):
        scores = pool.unit(slice(start, start + _BLOCK)) @ centroids.T
        best = np.argpartition(-scores, 1, axis=1)[:, :2]
        order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable")
        out[start : start + len(scores)] = np.take_along_axis(best, order, axis=1)
    return out


def balanced_draw(pool: PoolVectors, levels: tuple[int, ...], total: int, seed: int) -> np.ndarray:
    """Positions (n,) int64 of `total` rows, even over clusters of clusters (hierarchical k-means, Vo et al. 2024).

    Rows are clustered into `levels[0]` groups, the centroids of these into `levels[1]`, and so on. From the top each
    cluster divides what it is to give evenly among those below it; rows of the lowest clusters are drawn by the seed.
    """
    generator = np.random.default_rng(seed)
    lowest = cluster(pool, levels[0], seed)
    parents: list[np.ndarray] = []  # of each level, the cluster above
    centroids = lowest.centroids
    for groups in levels[1:]:
        above = kmeans(centroids, groups, generator, 50)
        parents.append(_nearest(centroids, above)[0])
        centroids = above
    sizes = [lowest.sizes]
    for parent in parents:
        sizes.append(np.bincount(parent, weights=sizes[-1], minlength=parent.max() + 1).astype(np.int64))
    counts = level_counts(sizes[-1], total)
    for size, parent in zip(sizes[-2::-1], parents[::-1], strict=True):
        below = np.zeros(len(size), np.int64)
        for group in range(len(counts)):
            inside = np.flatnonzero(parent == group)
            below[inside] = level_counts(size[inside], int(counts[group]))
        counts = below
    drawn = [np.empty(0, np.int64)]
    for group, count in enumerate(counts.tolist()):
        inside = np.flatnonzero(lowest.of == group)
        drawn.append(np.sort(generator.permutation(inside)[:count]))
    return np.concatenate(drawn)


def _nearest(vectors: np.ndarray, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest centroid (n,) int64 of each row and its cosine (n,) float32."""
    nearest, cosine = np.empty(len(vectors), np.int64), np.empty(len(vectors), np.float32)
    for start in range(0, len(vectors), _BLOCK):
        scores = vectors[start : start + _BLOCK] @ centroids.T
        nearest[start : start + _BLOCK] = scores.argmax(axis=1)
        cosine[start : start + _BLOCK] = scores.max(axis=1)
    return nearest, cosine
