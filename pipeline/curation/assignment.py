"""Balanced assignment of candidates to concepts: each image to one concept, rare concepts first."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from pipeline.curation.retrieval import Candidates


@dataclass(frozen=True)
class Assignment:
    """The chosen images, in the order in which they were chosen.

    Attributes:
        rows: (S,) int64, positions in the pool, each once.
        concept: (S,) int64, the concept that took each.
        scores: (S,) float32.
    """

    rows: np.ndarray
    concept: np.ndarray
    scores: np.ndarray


def assign(candidates: Candidates, total: int) -> Assignment:
    """Rare-first greedy assignment (Freeze-Align's curation) of `total` images, or of all candidates.

    Concepts come in ascending order of the score of their last candidate: one whose candidates are far away is rare.
    In every round each concept takes, best first, its share of what is left to give (at least one image) from its
    candidates that no concept has taken. Rounds go on until the total is reached or no candidate is left.
    """
    concepts = len(candidates.rows)
    last = candidates.scores[:, -1] if candidates.scores.shape[1] else np.zeros(concepts, dtype=np.float32)
    order = np.argsort(last, kind="stable")
    taken: set[int] = set()
    cursor = np.zeros(concepts, dtype=np.int64)
    chosen: list[tuple[int, int, float]] = []
    total = min(total, len(np.unique(candidates.rows)))
    progressed = concepts > 0
    while len(chosen) < total and progressed:
        progressed = False
        quota = max(1, (total - len(chosen)) // concepts)
        for concept in order.tolist():
            given = 0
            while given < quota and len(chosen) < total and cursor[concept] < candidates.rows.shape[1]:
                position = int(cursor[concept])
                cursor[concept] += 1
                row = int(candidates.rows[concept, position])
                if row in taken:
                    continue
                taken.add(row)
                chosen.append((row, concept, float(candidates.scores[concept, position])))
                given += 1
                progressed = True
    return Assignment(
        np.array([row for row, _, _ in chosen], dtype=np.int64),
        np.array([concept for _, concept, _ in chosen], dtype=np.int64),
        np.array([score for _, _, score in chosen], dtype=np.float32),
    )


def best_total(candidates: Candidates, counts: np.ndarray) -> float | None:
    """The largest total score that any assignment with these numbers per concept can reach.

    The linear assignment problem, solved exactly: what the greedy order gives up. None where the candidates cannot
    fill the counts.

    Args:
        counts: (C,) int64, images per concept.
    """
    pool, column = np.unique(candidates.rows, return_inverse=True)
    column = column.reshape(candidates.rows.shape)
    slots = np.repeat(np.arange(len(counts)), counts)
    if len(slots) == 0 or len(slots) > len(pool):
        return None
    forbidden = -1e3  # far below any cosine, so that it is used only where nothing else is left
    scores = np.full((len(counts), len(pool)), forbidden, dtype=np.float64)
    np.put_along_axis(scores, column, candidates.scores.astype(np.float64), axis=1)
    matrix = scores[slots]
    rows, columns = linear_sum_assignment(matrix, maximize=True)
    reached = matrix[rows, columns]
    return float(reached.sum()) if (reached > forbidden / 2).all() else None
