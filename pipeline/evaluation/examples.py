"""Single answers to look at: queries picked by hash, half of them answered correctly, with their best candidates."""

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
    """One of the best candidates: its position, its score (a cosine) and whether it is a positive."""

    position: int
    score: float
    positive: bool


@dataclass(frozen=True)
class Answer:
    """The answer to one query.

    Attributes:
        query: its position.
        rank: of the first positive, from 1.
        best: the candidates placed first, best first.
    """

    query: int
    rank: int
    best: tuple[Candidate, ...]


def showcase(aligners: Sequence[TrainedAligner], params: EvaluateParams) -> TrainedAligner | None:
    """The aligner whose answers are shown; None if it is not among those evaluated."""
    return next((aligner for aligner in aligners if aligner.name == params.showcase), None)


def shown_across(aligners: Sequence[TrainedAligner], params: EvaluateParams) -> TrainedAligner | None:
    """As `showcase`, or the first aligner where that one is of other modalities."""
    return showcase(aligners, params) or next(iter(aligners), None)


def image_reference(dataset: str, image_id: str, group: str = "pairs") -> dict[str, str]:
    """Where an image is: its index data/index/<group>/<dataset>, and its id in that index."""
    return {"group": group, "dataset": dataset, "image_id": str(image_id)}


def shares(count: int, parts: int) -> list[int]:
    """`count` dealt out to `parts` as evenly as possible, the first ones getting one more."""
    return [count // parts + (part < count % parts) for part in range(parts)]


def choose(keys: Sequence[str] | np.ndarray, correct: np.ndarray, count: int) -> list[int]:
    """Positions of `count` items, the correct ones first: half of them correct and half wrong if there are enough.

    Within either half they come in the order of the SHA-256 of their keys: as good as random, and the same each time.

    Args:
        keys: (n,) str, the name of each item.
        correct: (n,) bool.
    """
    order = sorted(range(len(keys)), key=lambda i: hashlib.sha256(str(keys[i]).encode("utf-8")).digest())
    hits, misses = [i for i in order if correct[i]], [i for i in order if not correct[i]]
    wanted = min(len(hits), max(count - count // 2, count - len(misses)))
    return hits[:wanted] + misses[: count - wanted]


def answers(
    queries: np.ndarray, candidates: np.ndarray, positives: np.ndarray, keys: Sequence[str] | np.ndarray, count: int
) -> list[Answer]:
    """Answers to `count` queries, chosen as `choose` does by whether a positive came first.

    Candidates with equal scores are placed as in `first_hit_ranks`, negatives first.

    Args:
        queries, candidates: (Q, K), (C, K) float unit vectors.
        positives: (P, 2) int64, query and candidate of each positive pair.
        keys: (Q,) str, the name of each query.
    """
    ranks = first_hit_ranks(queries, candidates, positives)
    chosen = []
    for query in choose(keys, ranks == 1, count):
        scores = candidates @ queries[query]
        is_positive = np.zeros(len(candidates), dtype=bool)
        is_positive[positives[positives[:, 0] == query, 1]] = True
        order = np.lexsort((is_positive, -scores))
        best = tuple(Candidate(int(c), round(float(scores[c]), 6), bool(is_positive[c])) for c in order[:SHOWN])
        chosen.append(Answer(query, 1 + int(is_positive[order].argmax()), best))
    return chosen
