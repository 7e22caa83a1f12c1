"""From outcomes per test item to rows and differences: the same statistics for every task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.evaluation.results import Difference, Row
from pipeline.evaluation.statistics import FamilyBootstrap, spread


@dataclass(frozen=True)
class Cohort:
    """The test items on which aligners are compared: those of all repeats, one after another.

    Attributes:
        dataset: where they come from.
        prompt_set, language: what the texts were, where that varies.
        families: (n,) str, the concept family of each item.
        repeat: (n,) int64, the repeat of each item.
        candidates: number of candidates in each repeat.
    """

    dataset: str
    families: np.ndarray
    repeat: np.ndarray
    candidates: tuple[int, ...]
    prompt_set: str | None = None
    language: str | None = None


@dataclass(frozen=True)
class Measured:
    """One metric of all aligners on a cohort.

    Attributes:
        chance: (n,) float, the expected outcome of each item under random scores.
        outcomes: per aligner (n,) float.
        groups: (n,) str: the metric is the mean over groups of their means; None for the plain mean.
    """

    metric: str
    chance: np.ndarray
    outcomes: Mapping[str, np.ndarray]
    groups: np.ndarray | None = None


def report(
    cohort: Cohort, measured: Sequence[Measured], control: str, draws: int, seed: int
) -> tuple[list[Row], list[Difference]]:
    """Rows of every aligner and metric, and differences from `control` paired item by item.

    Args:
        draws, seed: of the bootstrap.
    """
    rows: list[Row] = []
    differences: list[Difference] = []
    ungrouped = FamilyBootstrap(cohort.families, draws, seed)
    for metric in measured:
        groups = metric.groups
        boot = ungrouped if groups is None else FamilyBootstrap(cohort.families, draws, seed, groups)
        for aligner, outcomes in metric.outcomes.items():
            rows.append(
                Row(
                    aligner=aligner,
                    dataset=cohort.dataset,
                    metric=metric.metric,
                    value=boot.value(outcomes),
                    chance=boot.value(metric.chance),
                    ci=boot.interval(outcomes),
                    sd_repeats=_spread(cohort, outcomes, groups),
                    n_items=len(outcomes),
                    n_candidates=float(np.mean(cohort.candidates)),
                    n_families=boot.families,
                    repeats=len(cohort.candidates),
                    prompt_set=cohort.prompt_set,
                    language=cohort.language,
                )
            )
            if aligner == control or control not in metric.outcomes:
                continue
            compared = boot.compare(outcomes, metric.outcomes[control])
            differences.append(
                Difference(
                    aligner=aligner,
                    versus=control,
                    dataset=cohort.dataset,
                    metric=metric.metric,
                    difference=compared.difference,
                    ci=compared.interval,
                    ratio=compared.ratio,
                    ratio_ci=compared.ratio_interval,
                    excludes_zero=compared.excludes_zero,
                    prompt_set=cohort.prompt_set,
                    language=cohort.language,
                )
            )
    return rows, differences


def sentence(difference: Difference) -> str:
    """What a difference establishes, in words."""
    where = f"on {difference.dataset}, {difference.metric}"
    if difference.prompt_set:
        where += f" with prompts {difference.prompt_set!r}"
    if difference.ci is None:
        return f"{difference.aligner} against {difference.versus} {where}: too few concept families for an interval."
    low, high = difference.ci
    measured = f"{difference.difference:+.4f}, 95 % interval {low:+.4f} to {high:+.4f}"
    if not difference.excludes_zero:
        return f"{difference.aligner} against {difference.versus} {where}: no established difference ({measured})."
    verb = "beats" if difference.difference > 0 else "falls behind"
    return f"{difference.aligner} {verb} {difference.versus} {where} ({measured})."


def _spread(cohort: Cohort, outcomes: np.ndarray, groups: np.ndarray | None) -> float | None:
    values = []
    for repeat in np.unique(cohort.repeat):
        inside = cohort.repeat == repeat
        if groups is None:
            values.append(float(outcomes[inside].mean()))
        else:
            inside_groups = groups[inside]
            means = [outcomes[inside][inside_groups == group].mean() for group in np.unique(inside_groups)]
            values.append(float(np.mean(means)))
    return spread(values)
