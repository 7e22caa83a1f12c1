"""Test items on which aligners are compared, and the outcomes of each aligner on them."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Cohort:
    """The test items on which aligners are compared: those of all repeats, one after another.

    Attributes:
        dataset: where they come from.
        prompt_set, language, tokens: what the texts were, where that varies.
        families: (n,) str, the concept family of each item.
        repeat: (n,) int64, the repeat of each item.
        candidates: number of candidates in each repeat; a mean where items of several sets are pooled.
    """

    dataset: str
    families: np.ndarray
    repeat: np.ndarray
    candidates: tuple[float, ...]
    prompt_set: str | None = None
    language: str | None = None
    tokens: int | None = None

    @property
    def labels(self) -> dict[str, Any]:
        """What rows and differences on these items are told apart by."""
        return {name: getattr(self, name) for name in ("dataset", "prompt_set", "language", "tokens")}

    @classmethod
    def of_repeats(
        cls, dataset: str, families: Mapping[int, np.ndarray], candidates: Sequence[float], **texts: Any
    ) -> "Cohort":
        """The items of some repeats.

        Args:
            families: by repeat (n,) str, the concept family of each of its items.
            candidates: their number in each of these repeats.
            texts: `prompt_set`, `language` and `tokens`, where they vary.
        """
        repeat = np.repeat(list(families), [len(of_repeat) for of_repeat in families.values()])
        return cls(dataset, np.concatenate(list(families.values())), repeat, tuple(candidates), **texts)


@dataclass(frozen=True)
class Measured:
    """One metric of all aligners on a cohort.

    Attributes:
        chance: (n,) float, the expected outcome of each item under random scores.
        outcomes: per aligner (n,) float.
        groups: (n,) str: the metric is the mean over groups of their means; None for the plain mean.
        most_frequent: (n,) float, the outcomes when every answer is the most frequent class; None without classes.
    """

    metric: str
    chance: np.ndarray
    outcomes: Mapping[str, np.ndarray]
    groups: np.ndarray | None = None
    most_frequent: np.ndarray | None = None


def joined(parts: Mapping[Key, Sequence[np.ndarray]]) -> dict[Key, np.ndarray]:
    """Outcomes that were gathered repeat by repeat, the repeats one after another."""
    return {key: np.concatenate(repeats) for key, repeats in parts.items()}


def pooled(parts: Sequence[tuple[Cohort, Sequence[Measured]]], language: str) -> tuple[Cohort, list[Measured]]:
    """The items of several languages as one cohort, in which each language counts equally.

    Args:
        parts: per language its cohort and its metrics, the same ones in the same order.
        language: what to call them together.

    Returns:
        The metrics have the aligners that took part in every language, and the languages as groups.
    """
    cohorts = [cohort for cohort, _ in parts]
    repeat = np.concatenate([cohort.repeat for cohort in cohorts])
    by_repeat = [dict(zip(np.unique(c.repeat).tolist(), c.candidates, strict=True)) for c in cohorts]
    candidates = tuple(
        float(np.mean([of_language[number] for of_language in by_repeat if number in of_language]))
        for number in np.unique(repeat).tolist()
    )
    groups = np.concatenate([np.full(len(cohort.repeat), str(cohort.language)) for cohort in cohorts])
    families = np.concatenate([cohort.families for cohort in cohorts])
    together = replace(cohorts[0], families=families, repeat=repeat, candidates=candidates, language=language)
    measured = []
    for metrics in zip(*(metrics for _, metrics in parts), strict=True):
        most = [metric.most_frequent for metric in metrics]
        everywhere = [name for name in metrics[0].outcomes if all(name in metric.outcomes for metric in metrics)]
        measured.append(
            Measured(
                metric=metrics[0].metric,
                chance=np.concatenate([metric.chance for metric in metrics]),
                outcomes={name: np.concatenate([metric.outcomes[name] for metric in metrics]) for name in everywhere},
                groups=groups,
                most_frequent=None if any(one is None for one in most) else np.concatenate(most),
            )
        )
    return together, measured
