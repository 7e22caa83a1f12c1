"""How many samples each concept or cluster gets, and who takes which: rare concepts first, or the best in total."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import coo_matrix

from pipeline.curation.assignment import Assignment
from pipeline.curation.retrieval import Candidates

MOST_EDGES = 400_000  # candidates in all, for which the optimum takes about 20 seconds


def level_counts(sizes: np.ndarray, total: int) -> np.ndarray:
    """How many of each group (G,) int64 so that `total` are taken as evenly as the groups' sizes (G,) allow.

    Small groups give all they have, the others as many as each other, those that come first one more where the total
    does not divide (the allocation of hierarchical k-means sampling, Vo et al. 2024).
    """
    return weighted_counts(sizes, np.ones(len(sizes)), total)


def weighted_counts(sizes: np.ndarray, weights: np.ndarray, total: int) -> np.ndarray:
    """The same in proportion to weights (G,) above 0: what a group cannot give, the others give by their weights."""
    sizes = np.asarray(sizes, np.int64)
    total = int(min(total, sizes.sum()))
    share = np.where(sizes > 0, np.asarray(weights, np.float64), 0.0)
    counts = np.zeros(len(sizes), np.int64)
    free = share > 0
    while free.any():
        left = total - counts[~free].sum()
        wanted = left * share / share[free].sum()
        full = free & (wanted >= sizes)
        if not full.any():
            counts[free] = np.floor(wanted[free]).astype(np.int64)
            rest = np.flatnonzero(free & (counts < sizes))
            order = np.argsort(-(wanted[rest] - counts[rest]), kind="stable")
            counts[rest[order[: total - counts.sum()]]] += 1
            break
        counts[full] = sizes[full]
        free &= ~full
    return counts


def density_counts(
    sizes: np.ndarray, inter: np.ndarray, intra: np.ndarray, total: int, temperature: float = 0.1
) -> np.ndarray:
    """Quotas by the density of clusters (density-based pruning, Abbas et al. 2024).

    Clusters that are far from others and wide get more: shares are a softmax of inter * intra / temperature, bounded by
    what there is.

    Args:
        sizes: (G,) rows of each cluster.
        inter: (G,) mean distance of its centroid to the nearest other centroids.
        intra: (G,) mean distance of its rows to its centroid.
    """
    logits = np.asarray(inter, np.float64) * np.asarray(intra, np.float64) / temperature
    logits[np.asarray(sizes) == 0] = -np.inf
    shares = np.exp(logits - logits.max(initial=0.0, where=np.isfinite(logits)))
    return weighted_counts(sizes, shares, total)


def rare_first(candidates: Candidates, quotas: np.ndarray) -> Assignment:
    """Each concept takes its best candidates that none has taken, up to its quota (C,), as Freeze-Align does.

    Concepts come in ascending order of the score of their last candidate, rare ones first; a row goes to one concept.
    """
    concepts, k = candidates.rows.shape
    last = candidates.scores[:, -1] if k else np.zeros(concepts, np.float32)
    names, places = np.unique(candidates.rows, return_inverse=True)
    places = places.reshape(concepts, k)
    free = np.ones(len(names), bool)
    chosen: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for concept in np.argsort(last, kind="stable").tolist():
        open_ = np.flatnonzero(free[places[concept]] & np.isfinite(candidates.scores[concept]))[: quotas[concept]]
        free[places[concept, open_]] = False
        owner = np.full(len(open_), concept, np.int64)
        chosen.append((candidates.rows[concept, open_], owner, candidates.scores[concept, open_]))
    return _assignment(chosen)


def best_in_total(candidates: Candidates, quotas: np.ndarray) -> Assignment | None:
    """The assignment with the most samples that quotas (C,) allow and, among those, the largest total score.

    A transport problem, whose linear programme has whole solutions; solved exactly by HiGHS. None where there are more
    than `MOST_EDGES` candidates.
    """
    finite = np.isfinite(candidates.scores)
    owner, place = np.nonzero(finite)
    if len(owner) > MOST_EDGES:
        return None
    if not len(owner):
        return _assignment([])
    scores = candidates.scores[owner, place].astype(np.float64)
    names, row = np.unique(candidates.rows[owner, place], return_inverse=True)
    concepts = len(quotas)
    # a chain of exchanges that frees one more place passes each concept once and loses at most 2 there
    gain = scores + (2 * concepts + 2)
    edges = np.arange(len(owner))
    matrix = coo_matrix(
        (np.ones(2 * len(owner)), (np.concatenate([owner, concepts + row]), np.concatenate([edges, edges])))
    ).tocsr()
    bounds = np.concatenate([np.asarray(quotas, np.float64), np.ones(len(names))])
    solved: Any = linprog(-gain, A_ub=matrix, b_ub=bounds, bounds=(0, 1), method="highs-ds")
    taken = np.flatnonzero(solved.x > 0.5)
    chosen = []
    for concept in range(concepts):
        mine = taken[owner[taken] == concept]
        mine = mine[np.lexsort((candidates.rows[concept, place[mine]], -scores[mine]))]
        rows = candidates.rows[concept, place[mine]]
        chosen.append((rows, owner[mine].astype(np.int64), candidates.scores[concept, place[mine]]))
    return _assignment(chosen)


@dataclass(frozen=True)
class Difference:
    """How far one assignment is from the best one in total.

    Attributes:
        total, best: sums of scores.
        samples, best_samples: how many each takes.
        moved: samples that both take for different concepts.
        swapped: samples that this one takes and the best one leaves.
    """

    total: float
    best: float
    samples: int
    best_samples: int
    moved: int
    swapped: int


def difference(one: Assignment, best: Assignment) -> Difference:
    """What an assignment gives up."""
    mine = dict(zip(one.rows.tolist(), one.concept.tolist(), strict=True))
    theirs = dict(zip(best.rows.tolist(), best.concept.tolist(), strict=True))
    return Difference(
        float(one.scores.sum(dtype=np.float64)),
        float(best.scores.sum(dtype=np.float64)),
        len(mine),
        len(theirs),
        sum(theirs.get(row, concept) != concept for row, concept in mine.items()),
        len(mine.keys() - theirs.keys()),
    )


def _assignment(chosen: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Assignment:
    kinds = (np.int64, np.int64, np.float32)
    columns = zip(*chosen, strict=True) if chosen else ((), (), ())
    rows, concept, scores = (
        np.concatenate([np.empty(0, kind), *column]).astype(kind) for kind, column in zip(kinds, columns, strict=True)
    )
    return Assignment(rows, concept, scores)
