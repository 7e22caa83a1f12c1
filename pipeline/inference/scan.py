"""Exact search: one pass over all vectors for all queries at once, at the speed of the memory or of a matrix product.

Products in float32 find the rows that may be among the nearest, a bound on their rounding decides how far to look, and
products in float64 put them in order. The answer depends neither on blocks, on threads nor on other queries.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch

Block = tuple[np.ndarray, np.ndarray]  # positions (n,) int64 and vectors (n, K) of float32, float16 or int8
BLOCK_BYTES = 8 << 20  # of float32 vectors, or of scores, that are worked on together: about a cache
_MOST_QUERIES = 1024  # at once
_EXACT_ROWS = 256  # whose products are taken in float64 together
_TOGETHER = 4096  # rows that are gathered for it
_SERIAL = 32768  # numbers from which PyTorch uses several threads
_LEAST_LENGTH = 1e-12
_UNIT = 2.0**-24  # half a unit in the last place of float32


class Nearest(NamedTuple):
    """For each of Q queries the n nearest rows, best first; of equal scores the earlier row.

    Attributes:
        rows: (Q, n) int64.
        scores: (Q, n) float32.
    """

    rows: np.ndarray
    scores: np.ndarray


def nearest(
    blocks: Iterable[Block],
    queries: np.ndarray,
    k: int,
    allowed: np.ndarray | None = None,
    lengths: np.ndarray | None = None,
) -> Nearest:
    """The `k` rows with the largest products with each query; fewer where there are fewer rows.

    Args:
        blocks: rows in any order, each once. Integers of 8 bits count as the numbers they are.
        queries: (Q, K) unit vectors.
        allowed: (N,) bool by position, which rows may be found; all where None.
        lengths: (N,) float32 by position, of the rows, whose cosines are wanted; NaN where it is not known yet, and
            filled in. Rows are taken for unit vectors where None. Rows that are not finite are not found.
    """
    queries = np.ascontiguousarray(queries, dtype=np.float32)
    starts = range(0, len(queries), _MOST_QUERIES)
    groups = [_Group(queries[start : start + _MOST_QUERIES], k, lengths is not None) for start in starts]
    if not groups:
        return Nearest(np.empty((0, 0), np.int64), np.empty((0, 0), np.float32))
    widen = _Widen()
    together = min(len(queries), _MOST_QUERIES)
    with np.errstate(invalid="ignore", over="ignore"):  # rows that are not finite
        for rows, vectors in _pieces(blocks, together, allowed):
            wide = widen(vectors)
            here = None if lengths is None else _known(lengths, rows, wide)
            for group in groups:
                group.add(rows, wide, here)
    found = [group.found() for group in groups]
    return Nearest(np.concatenate([one.rows for one in found]), np.concatenate([one.scores for one in found]))


def exact_scores(vectors: np.ndarray, query: np.ndarray, *, cosine: bool) -> np.ndarray:
    """Products (n,) float32 of rows (n, K) with a query (K,) or with one each (n, K), summed in float64 row by row."""
    out = np.empty(len(vectors), dtype=np.float32)
    query = query.astype(np.float64) if query.ndim == 1 else query
    for start in range(0, len(vectors), _EXACT_ROWS):
        part = slice(start, start + _EXACT_ROWS)
        exact = vectors[part].astype(np.float64)
        own = query if query.ndim == 1 else query[part].astype(np.float64)
        scores = np.einsum("ij,j->i" if own.ndim == 1 else "ij,ij->i", exact, own)
        if cosine:
            scores /= np.maximum(np.sqrt(np.einsum("ij,ij->i", exact, exact)), _LEAST_LENGTH)
        out[part] = scores
    return out


class _Group:
    """Some queries and the nearest rows so far."""

    def __init__(self, queries: np.ndarray, k: int, cosine: bool) -> None:
        self._queries, self._k, self._cosine = queries, k, cosine
        count, width = queries.shape
        # a product of n terms in float32 is off by n rounding units of the product of lengths at most, in whatever
        # order it is summed; twice that, as lengths are rounded, and vectors may be a little longer than one
        self._margin = (2 * width + 8) * _UNIT * np.maximum(np.linalg.norm(queries, axis=1), 1)
        self._least = np.full(count, -np.inf)  # the k-th best score of each query so far, if there are k
        self._owner = np.empty(0, dtype=np.int64)
        self._rows = np.empty(0, dtype=np.int64)
        self._scores = np.empty(0, dtype=np.float32)

    def add(self, rows: np.ndarray, vectors: np.ndarray, lengths: np.ndarray | None) -> None:
        scores = self._queries @ vectors.T
        if lengths is not None:
            scores /= lengths
        least = self._least - self._margin
        if np.isneginf(least).any() and len(rows) > self._k:
            rest = len(rows) - self._k
            here = np.partition(np.where(np.isnan(scores), -np.inf, scores), rest, axis=1)[:, rest]
            least = np.maximum(least, here - 2 * self._margin)
        least = np.maximum(least, np.finfo(np.float32).min)
        owner, place = np.nonzero(scores >= least[:, None].astype(np.float32))
        if owner.size:
            self._merge(owner, rows[place], self._exact(vectors, owner, place))

    def _exact(self, vectors: np.ndarray, owner: np.ndarray, place: np.ndarray) -> np.ndarray:
        scores = np.empty(len(owner), dtype=np.float32)
        for start in range(0, len(owner), _TOGETHER):
            part = slice(start, start + _TOGETHER)
            scores[part] = exact_scores(vectors[place[part]], self._queries[owner[part]], cosine=self._cosine)
        return scores

    def _merge(self, owner: np.ndarray, rows: np.ndarray, scores: np.ndarray) -> None:
        finite = np.isfinite(scores)
        owner, rows, scores = owner[finite], rows[finite], scores[finite]
        owner = np.concatenate([self._owner, owner])
        rows = np.concatenate([self._rows, rows])
        scores = np.concatenate([self._scores, scores])
        order = np.lexsort((rows, -scores, owner))
        owner = owner[order]
        starts = np.searchsorted(owner, np.arange(len(self._queries)))
        kept = np.arange(len(owner)) - starts[owner] < self._k
        self._owner, self._rows, self._scores = owner[kept], rows[order][kept], scores[order][kept]
        counts = np.bincount(self._owner, minlength=len(self._queries))
        full = counts == self._k
        self._least[full] = self._scores[np.cumsum(counts)[full] - 1]

    def found(self) -> Nearest:
        """What there is, as many rows of each query."""
        count = len(self._queries)
        counts = np.bincount(self._owner, minlength=count)
        places = (np.cumsum(counts) - counts)[:, None] + np.arange(counts.min())
        return Nearest(self._rows[places], self._scores[places])


class _Widen:
    """Vectors as float32, in memory that is used again for the next block."""

    def __init__(self) -> None:
        self._wide = np.empty((0, 0), np.float32)

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        if vectors.dtype == np.float32:
            return vectors
        if vectors.shape[1] != self._wide.shape[1] or len(vectors) > len(self._wide):
            self._wide = np.empty(vectors.shape, dtype=np.float32)
        wide = self._wide[: len(vectors)]
        if vectors.dtype == np.float16:
            self._halves(vectors, wide)
        else:
            np.copyto(wide, vectors)
        return wide

    def _halves(self, vectors: np.ndarray, wide: np.ndarray) -> None:
        """By PyTorch, as NumPy converts them one by one; in pieces, so that its threads do not compete with BLAS's.

        It asks for memory that can be written, which mapped files are not.
        """
        step = max(1, (_SERIAL - 1) // max(1, vectors.shape[1]))
        piece = np.empty((step, vectors.shape[1]), dtype=np.float16)
        source, target = torch.from_numpy(piece), torch.from_numpy(wide)
        for start in range(0, len(vectors), step):
            here = vectors[start : start + step]
            np.copyto(piece[: len(here)], here)
            target[start : start + step].copy_(source[: len(here)])


def _pieces(blocks: Iterable[Block], queries: int, allowed: np.ndarray | None) -> Iterator[Block]:
    """The allowed rows, as many at a time as their scores, and they themselves if they are converted, fit a cache."""
    for rows, vectors in blocks:
        numbers = queries if vectors.dtype == np.float32 else max(queries, vectors.shape[1])
        size = max(1, BLOCK_BYTES // (4 * numbers))
        for start in range(0, len(rows), size):
            here, piece = rows[start : start + size], vectors[start : start + size]
            if allowed is not None:
                chosen = np.flatnonzero(allowed[here])
                if not chosen.size:
                    continue
                if chosen.size < len(here):
                    here, piece = here[chosen], piece[chosen]
            yield here, piece


def _known(lengths: np.ndarray, rows: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    known: np.ndarray = lengths[rows]
    if np.isnan(known).any():
        known = np.maximum(np.sqrt(np.einsum("ij,ij->i", vectors, vectors)), np.float32(_LEAST_LENGTH))
        lengths[rows] = known
    return known
