"""What fitting an aligner gives, whatever the kind of its head: one form for all that is saved."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.alignment.heads.base import Head


@dataclass(frozen=True)
class FittedHeads:
    """The heads of all repeats, and what is recorded of them.

    Attributes:
        heads: one per repeat; none for head identity, which has no weights.
        embed_dim: width of the shared space.
        metrics: what metrics.json holds.
        seeds, best_epochs: one per repeat; empty where nothing is drawn, or nothing is trained.
        parameters: trained scalars of one head, or the fitted ones of one in closed form.
        kept: scalars of training rows that one in closed form keeps (anchors, landmarks), and of what was drawn for it.
        choices: what was decided where the entry in params.yaml leaves it open, by form.
    """

    heads: tuple[Head, ...]
    embed_dim: int
    metrics: dict[str, Any]
    seeds: tuple[int, ...] = ()
    best_epochs: tuple[int, ...] = ()
    parameters: int = 0
    kept: int = 0
    choices: dict[str, dict[str, str]] = field(default_factory=dict)


def totals(rows: Sequence[dict[str, Any]], parameters: int, kept: int = 0) -> dict[str, Any]:
    """metrics.json of an aligner: sums over its repeats, the mean and spread of validation recall, and each repeat.

    Args:
        rows: per repeat, with `validation_recall`, `seconds` and `samples_seen`.
        parameters, kept: of one repeat's head, as in `FittedHeads`.
    """
    return {
        "validation_recall": mean_and_sd([row["validation_recall"] for row in rows]),
        "seconds": sum(row["seconds"] for row in rows),
        "samples_seen": sum(row["samples_seen"] for row in rows),
        "parameters": parameters,
        "kept": kept,
        "repeats": {f"repeat_{repeat}": row for repeat, row in enumerate(rows)},
    }


def mean_and_sd(recalls: Sequence[float]) -> dict[str, float | None]:
    """Mean and standard deviation (n - 1) over repeats; null for a single one."""
    return {"mean": statistics.fmean(recalls), "sd": statistics.stdev(recalls) if len(recalls) > 1 else None}
