"""Samples of a pool that are, or are nearly, pictures or captions of a set that is evaluated on."""

from dataclasses import dataclass

import numpy as np

from pipeline.curation.perceptual import flat, hash_pairs
from pipeline.curation.streamed import retrieve_streamed
from pipeline.curation.vectors import PoolVectors

_STEP = 1024  # pictures of the evaluation set at a time
_PROBED = 64  # nearest rows of each; more where all of them are near


@dataclass(frozen=True)
class Leaks:
    """What of a pool leaks.

    Attributes:
        of: (N,) int64, the row of the evaluation set that each row is nearly; -1 where there is none.
        score: (N,) float32, the cosine of the two; NaN where hashes or ids told.
    """

    of: np.ndarray
    score: np.ndarray

    def joined(self, other: "Leaks") -> "Leaks":
        """These, and where there is none those of another."""
        missing = self.of < 0
        return Leaks(np.where(missing, other.of, self.of), np.where(missing, other.score, self.score))


def leaks_by_features(pool: PoolVectors, evaluation: np.ndarray, least: float, device: str = "cpu") -> Leaks:
    """Rows whose cosine with a row of the evaluation set is at least `least`.

    The evaluation set is what is searched for, so the pool is read once for every 1,024 of its rows and never held.

    Args:
        evaluation: (M, D) unit vectors.
    """
    of, score = np.full(len(pool), -1, np.int64), np.full(len(pool), np.nan, np.float32)
    for start in range(0, len(evaluation), _STEP):
        wanted, k = evaluation[start : start + _STEP], _PROBED
        numbers = np.arange(start, start + len(wanted))
        while len(numbers):
            found = retrieve_streamed(pool, wanted, k, device=device)
            near = found.scores >= least
            owner, place = np.nonzero(near)
            rows, here = found.rows[owner, place], found.scores[owner, place]
            order = np.lexsort((-numbers[owner], here))  # the best last, so that it is the one that stays
            better = order[~(here[order] <= score[rows[order]])]
            of[rows[better]], score[rows[better]] = numbers[owner[better]], here[better]
            more = near.all(axis=1) & (found.rows.shape[1] == k)
            wanted, numbers, k = wanted[more], numbers[more], 8 * k
    return Leaks(of, score)


def leaks_by_hash(pool: np.ndarray, evaluation: np.ndarray, most: int) -> Leaks:
    """Rows whose perceptual hash differs from one of the evaluation set, or of a cut of it, in `most` bits or fewer.

    Args:
        pool: (N,) uint64.
        evaluation: (M, 10) uint64, as `perceptual.cut_hashes` gives them.
    """
    of = np.full(len(pool), -1, np.int64)
    usable = np.flatnonzero(~flat(evaluation.reshape(-1)))
    one, other = hash_pairs(pool, most, evaluation.reshape(-1)[usable])
    of[one[::-1]] = usable[other[::-1]] // evaluation.shape[1]
    return Leaks(of, np.full(len(pool), np.nan, np.float32))


def leaks_by_name(pool: list[str], evaluation: list[str]) -> Leaks:
    """Rows whose id, or caption, is one of the evaluation set's."""
    known = {name: place for place, name in reversed(list(enumerate(evaluation)))}
    return Leaks(np.array([known.get(name, -1) for name in pool], np.int64), np.full(len(pool), np.nan, np.float32))
