"""What a selection covers: images per concept, precision of the retrieval, and how balanced the categories are."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.curation.assignment import Assignment
from pipeline.curation.pool import Pool
from pipeline.curation.prototypes import Concept, carriers
from pipeline.curation.retrieval import Candidates
from pipeline.statistics import spread

_DRAWS = 20
_FIGURES = ("pool", "candidates", "selected", "precision", "mean_score", "min_score")


def concept_rows(
    pool: Pool, concepts: Sequence[Concept], candidates: Candidates, assignment: Assignment
) -> list[dict[str, Any]]:
    """Of each concept in one repeat: train images that carry it, candidates, selected, precision and scores.

    Precision is the share of its selected images that carry the label, among those of the concept's data set, as the
    others have no such label.
    """
    rows = []
    for number, concept in enumerate(concepts):
        chosen = assignment.rows[assignment.concept == number]
        scores = assignment.scores[assignment.concept == number]
        labelled = chosen[pool.dataset[chosen] == concept.dataset]
        correct = np.isin(labelled, carriers(pool, concept))
        rows.append(
            {
                "concept": concept.value,
                "dataset": concept.dataset,
                "label": concept.label,
                "pool": len(carriers(pool, concept)),
                "candidates": int(candidates.rows.shape[1]),
                "selected": len(chosen),
                "precision": float(correct.mean()) if len(correct) else None,
                "mean_score": float(scores.mean()) if len(scores) else None,
                "min_score": float(scores.min()) if len(scores) else None,
            }
        )
    return rows


def averaged(repeats: Sequence[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The rows of all repeats, averaged by concept; repeats that lack a concept do not count for it."""
    collected: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for rows in repeats:
        for row in rows:
            collected.setdefault((row["dataset"], row["label"], row["concept"]), []).append(row)
    result = []
    for (dataset, label, value), rows in sorted(collected.items()):
        means = {name: mean([row[name] for row in rows]) for name in _FIGURES}
        result.append({"concept": value, "dataset": dataset, "label": label, **means})
    return result


def evenness(pool: Pool, rows: np.ndarray) -> float | None:
    """Normalised entropy of the categories of the given rows, 0 (one category) to 1 (all equally often).

    Categories are told apart by data set; the norm is the number of categories in the whole pool.
    """
    kind, names = _kinds(pool)
    chosen = kind[rows]
    chosen = chosen[chosen >= 0]
    kinds = len(names)
    if kinds < 2 or len(chosen) == 0:
        return None
    counts = np.bincount(chosen, minlength=kinds)
    counts = counts[counts > 0]
    shares = counts / counts.sum()
    return float(-(shares * np.log(shares)).sum() / np.log(kinds))


def _kinds(pool: Pool) -> tuple[np.ndarray, list[str]]:
    """The category of each image as a number, (n,) int64, -1 without one; and the names of the numbers, sorted."""
    dataset, category = pool.dataset, pool.labels["category"]
    pairs = dataset.codes.astype(np.int64) * (len(category.values) + 1) + category.codes
    pairs[category.codes < 0] = -1
    found, place = np.unique(pairs, return_inverse=True)
    named = found[found >= 0]
    codes = np.divmod(named, len(category.values) + 1)
    owners, values = dataset.values.take(codes[0]).tolist(), category.values.take(codes[1]).tolist()
    names = [f"{owner}/{value}" for owner, value in zip(owners, values, strict=True)]
    distinct = sorted(set(names))
    number = {name: place for place, name in enumerate(distinct)}
    numbers = [-1] * (len(found) - len(named)) + [number[name] for name in names]
    return np.array(numbers, np.int64)[place], distinct


def balance(pool: Pool, rows: np.ndarray, seed: int) -> dict[str, float | None]:
    """Evenness of the selected images, of the pool, and of random draws of equal size (mean and deviation)."""
    generator = np.random.default_rng(seed)
    draws = [evenness(pool, generator.choice(len(pool), size=len(rows), replace=False)) for _ in range(_DRAWS)]
    drawn = [value for value in draws if value is not None]
    return {
        "selected": evenness(pool, rows),
        "pool": evenness(pool, np.arange(len(pool))),
        "random": float(np.mean(drawn)) if drawn else None,
        "random_sd": spread(drawn),
    }


def mean(values: Sequence[float | None]) -> float | None:
    """Mean of the values that are not None, to six places; None if all are."""
    present = [value for value in values if value is not None]
    return round(float(np.mean(present)), 6) if present else None
