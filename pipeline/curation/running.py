"""The best rows of each of many queries so far, in memory that does not grow with the rows that were seen."""

from collections.abc import Callable, Sequence

import numpy as np

from pipeline.curation.products import Rounding

_LEAST_SLACK = 64
_EMPTY = np.float32(-np.inf)
Exact = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From queries (n,) int64 and positions (n,) int64 their scores (n,) float32, which depend on nothing else."""


class RunningTopK:
    """Candidates for the `k` best rows of each query.

    A score depends a little on which rows were multiplied together, so all rows are kept that may be among the best by
    the bound on its rounding; `best` puts them in order by exact scores. What is kept depends on the order of blocks,
    the answer does not. Scores come from products that are finer at each level: where rounding keeps too many rows,
    `level` rises. What is kept by then has exact scores, and whoever adds rows does so by products of that level.

    Args:
        queries: how many.
        block: the most rows that are added at once.
        exact: see `Exact`.
        roundings: of the products of each level, the coarsest first.

    Attributes:
        level: of the products whose scores may be added.
        least: (Q,) float32, which scores may be among the best.
    """

    def __init__(self, queries: int, k: int, block: int, exact: Exact, roundings: Sequence[Rounding]) -> None:
        self._k, self._exact, self._roundings, self.level = k, exact, roundings, 0
        self._slack = max(_LEAST_SLACK, k // 8 if len(roundings) == 1 else 2 * k)
        self._settled = 0
        capacity = k + self._slack + max(k, block)
        self._scores = np.full((queries, capacity), _EMPTY)
        self._rows = np.zeros((queries, capacity), np.int64)
        self._counts = np.zeros(queries, np.int64)
        self.least: np.ndarray = np.full(queries, np.finfo(np.float32).min)

    @property
    def nbytes(self) -> int:
        """Bytes that the candidates take."""
        return int(self._scores.nbytes + self._rows.nbytes)

    def room(self, counts: np.ndarray) -> bool:
        """Whether so many rows of each query can be added; else the worst are dropped, and `least` rises."""
        if not len(counts) or int((self._counts + counts).max()) <= self._scores.shape[1]:
            return True
        self._compact()
        return False

    def add(self, owner: np.ndarray, rows: np.ndarray, scores: np.ndarray, counts: np.ndarray) -> None:
        """Add rows for which there is room.

        Args:
            owner: (n,) int64, the query of each, ascending.
            rows: (n,) int64, positions.
            scores: (n,) float32, at least `least` of their query.
            counts: (Q,) int64, of each query.
        """
        first = np.cumsum(counts) - counts
        place = np.arange(len(owner)) + np.repeat(self._counts - first, counts)
        flat = owner * self._scores.shape[1] + place
        self._scores.reshape(-1)[flat] = scores
        self._rows.reshape(-1)[flat] = rows
        self._counts += counts

    def best(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions (Q, n) int64 and scores (Q, n) float32, best first; of equal scores the lower position first.

        n is `k`, or fewer where fewer rows are finite.
        """
        self._compact()
        owner, rows, scores = self._exactly(np.arange(len(self._counts)))
        counts = np.bincount(owner, minlength=len(self._counts))
        n = min(self._k, int(counts.min(initial=self._k)))
        first = (np.cumsum(counts) - counts)[:, None] + np.arange(n)
        return rows[first], scores[first]

    def _compact(self) -> None:
        full = np.flatnonzero(self._counts > self._k)
        if not full.size:
            return
        capacity = self._scores.shape[1]
        kth = np.partition(self._scores[full], capacity - self._k, axis=1)[:, capacity - self._k]
        absolute, relative = self._roundings[self.level]
        reach = (kth - 2 * (absolute[full] + relative * np.abs(kth))).astype(np.float32)
        self.least[full] = np.maximum(self.least[full], np.nextafter(reach, _EMPTY))
        self._keep(self._scores >= self.least[:, None])
        if (crowded := np.flatnonzero(self._counts > self._k + self._slack)).size:
            self._settled += int(self._counts[crowded].sum())
            if self._settled > self._counts.size * self._k and self.level < len(self._roundings) - 1:
                self.level, crowded = self.level + 1, np.flatnonzero(self._counts)
            self._settle(crowded)

    def _keep(self, kept: np.ndarray) -> None:
        counts = kept.sum(axis=1)
        owner = np.repeat(np.arange(len(counts)), counts)
        rows, scores = self._rows[kept], self._scores[kept]
        self._scores.fill(_EMPTY)
        self._counts[:] = 0
        self.add(owner, rows, scores, counts)

    def _settle(self, queries: np.ndarray) -> None:
        """Of queries with many rows that are as good as equal, keep the best `k` by exact scores."""
        owner, rows, scores = self._exactly(queries)
        counts = np.bincount(owner, minlength=len(self._counts))
        first = np.cumsum(counts) - counts
        kept = np.arange(len(owner)) - first[owner] < self._k
        owner, rows, scores = owner[kept], rows[kept], scores[kept]
        self._scores[queries], self._counts[queries] = _EMPTY, 0
        self.add(owner, rows, scores, np.bincount(owner, minlength=len(self._counts)))

    def _exactly(self, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Query, position and exact score of what is kept of some queries, by query, then best first."""
        owner = np.repeat(queries, self._counts[queries])
        inside = np.arange(self._scores.shape[1]) < self._counts[queries][:, None]
        rows = self._rows[queries][inside]
        scores = self._exact(owner, rows)
        order = np.lexsort((rows, -scores, owner))
        return owner[order], rows[order], scores[order]
