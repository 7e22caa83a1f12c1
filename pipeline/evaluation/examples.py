"""Single answers to look at: queries picked by hash, half of them answered rightly, with the best candidates."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.config import EvaluateParams
from pipeline.evaluation.embeddings import TrainedAligner
from pipeline.evaluation.metrics import first_hit_ranks

SHOWN = 5  # candidates of each example


@dataclass(frozen=True)
class Candidate:
    """A candidate among the first: its position, its score (a cosine) and whether it is right."""

    position: int
    score: float
    right: bool


@dataclass(frozen=True)
class Answer:
    """What one query got.

    Attributes:
        query: its position.
        rank: of the first right candidate, from 1.
        best: the candidates placed first, best first.
    """

    query: int
    rank: int
    best: tuple[Candidate, ...]


def showcase(aligners: Sequence[TrainedAligner], params: EvaluateParams) -> TrainedAligner | None:
    """The aligner whose answers are shown; None where it is not among those evaluated."""
    return next((aligner for aligner in aligners if aligner.name == params.showcase), None)


def image_reference(dataset: str, image_id: str, group: str = "pairs") -> dict[str, str]:
    """Where an image is found: its index data/index/<group>/<dataset>, and its id there."""
    return {"group": group, "dataset": dataset, "image_id": str(image_id)}


def shares(count: int, parts: int) -> list[int]:
    """`count` dealt out to `parts` as evenly as can be, the first ones getting one more."""
    return [count // parts + (part < count % parts) for part in range(parts)]


def choose(keys: Sequence[str] | np.ndarray, right: np.ndarray, count: int) -> list[int]:
    """Positions of `count` items, the right ones first: half of them right and half wrong where there are enough.

    Within either half they come in the order of the SHA-256 of their keys: as good as random, and the same each time.

    Args:
        keys: (n,) str, the name of each item.
        right: (n,) bool.
    """
    order = sorted(range(len(keys)), key=lambda i: hashlib.sha256(str(keys[i]).encode("utf-8")).digest())
    hits, misses = [i for i in order if right[i]], [i for i in order if not right[i]]
    wanted = min(len(hits), max(count - count // 2, count - len(misses)))
    return hits[:wanted] + misses[: count - wanted]


def answers(
    queries: np.ndarray, candidates: np.ndarray, right: np.ndarray, keys: Sequence[str] | np.ndarray, count: int
) -> list[Answer]:
    """Answers to `count` queries, chosen as `choose` does by whether a right candidate came first.

    Candidates with equal scores are placed as in `first_hit_ranks`, the wrong ones first.

    Args:
        queries, candidates: (Q, K), (C, K) float unit vectors.
        right: (P, 2) int64, query and candidate of each right pair.
        keys: (Q,) str, the name of each query.
    """
    ranks = first_hit_ranks(queries, candidates, right)
    found = []
    for query in choose(keys, ranks == 1, count):
        scores = candidates @ queries[query]
        is_right = np.zeros(len(candidates), dtype=bool)
        is_right[right[right[:, 0] == query, 1]] = True
        order = np.lexsort((is_right, -scores))
        best = tuple(Candidate(int(c), round(float(scores[c]), 6), bool(is_right[c])) for c in order[:SHOWN])
        found.append(Answer(query, 1 + int(is_right[order].argmax()), best))
    return found
