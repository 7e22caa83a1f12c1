"""From outcomes per test item to rows and differences: the same statistics for every task."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.config import CAPTION_SUPERVISED, EvaluateParams, control_of, split_method, with_method
from pipeline.evaluation.cohorts import Cohort, Measured
from pipeline.evaluation.results import Difference, Row, lower_is_better
from pipeline.statistics import ClusterBootstrap, FamilyBootstrap, Interval, Outcomes, spread


@dataclass(frozen=True)
class Comparisons:
    """Which rows of a result are compared.

    A row is an aligner or one of its further methods (`<aligner>-<method>`), and is compared with the same method
    alone: a head that was fitted to masks never with one that was not. A head that was fitted to captions of scenes is
    compared with plain projectors too, as neither has seen a mask.

    Attributes:
        control: aligner -> its control; a name is the control of all others, None for none.
        versus: aligner -> one more that it is compared with.
    """

    control: str | Mapping[str, str] | None
    versus: Mapping[str, str]

    @classmethod
    def of(cls, params: EvaluateParams) -> "Comparisons":
        """Those that params.yaml asks for."""
        return cls(params.control, params.versus)

    def partners(self, row: str) -> tuple[str, ...]:
        """The rows that `row` is compared with, its control first; never itself."""
        aligner, method = split_method(row)
        versus = self.versus.get(aligner)
        named = [control_of(self.control, row), None if versus is None else with_method(versus, method)]
        controls = self.control.values() if isinstance(self.control, Mapping) else (self.control,)
        if method == CAPTION_SUPERVISED and aligner not in controls:
            named += [aligner, versus]
        return tuple(dict.fromkeys(other for other in named if other is not None and other != row))

    def controls(self, rows: Iterable[str]) -> dict[str, str]:
        """The control of each of these rows, where it is one of them."""
        names = list(dict.fromkeys(rows))
        found = {name: control_of(self.control, name) for name in names}
        return {name: control for name, control in found.items() if control in names and control is not None}


@dataclass(frozen=True)
class Levels:
    """What a metric is without any model.

    Attributes:
        chance: the value under random answers.
        most_frequent: the value when every answer is the most frequent class; None where there are no classes.
    """

    chance: float
    most_frequent: float | None = None


def report(
    cohort: Cohort, measured: Sequence[Measured], comparisons: Comparisons, draws: int, seed: int
) -> tuple[list[Row], list[Difference]]:
    """Rows of every aligner and metric, and differences from its partners paired item by item.

    A partner without outcomes on these items is passed over.

    Args:
        draws, seed: of the bootstrap.
    """
    rows: list[Row] = []
    differences: list[Difference] = []
    ungrouped = FamilyBootstrap(cohort.families, draws, seed, repeat=cohort.repeat)
    for metric in measured:
        groups = metric.groups
        bootstrap = ungrouped
        if groups is not None:
            bootstrap = FamilyBootstrap(cohort.families, draws, seed, groups, cohort.repeat)
        spreads = {name: _spread(cohort, outcomes, groups) for name, outcomes in metric.outcomes.items()}
        most = None if metric.most_frequent is None else bootstrap.value(metric.most_frequent)
        levels = Levels(bootstrap.value(metric.chance), most)
        new = compare(
            cohort, metric.metric, bootstrap, metric.outcomes, spreads, levels, len(metric.chance), comparisons
        )
        rows += new[0]
        differences += new[1]
    return rows, differences


def compare(
    cohort: Cohort,
    metric: str,
    bootstrap: ClusterBootstrap[Outcomes],
    outcomes: Mapping[str, Outcomes],
    spreads: Mapping[str, float | None],
    levels: Levels,
    items: int,
    comparisons: Comparisons,
) -> tuple[list[Row], list[Difference]]:
    """Rows of every aligner on one metric, and its differences from its partners under the same draws.

    Args:
        outcomes: per aligner, in the form that `bootstrap` takes.
        spreads: per aligner, the standard deviation over repeats.
        items: number of test items.
    """
    samples = {name: bootstrap.sample(of) for name, of in outcomes.items()}
    intervals = {name: _within(bootstrap.interval(sample), metric) for name, sample in samples.items()}
    rows: list[Row] = []
    differences: list[Difference] = []
    for aligner, sample in samples.items():
        rows.append(
            Row(
                aligner=aligner,
                metric=metric,
                value=sample.value,
                chance=levels.chance,
                ci=intervals[aligner],
                sd_repeats=spreads[aligner],
                n_items=items,
                n_candidates=float(np.mean(cohort.candidates)),
                n_families=bootstrap.families,
                repeats=len(cohort.candidates),
                most_frequent=levels.most_frequent,
                **cohort.labels,
            )
        )
        for partner in comparisons.partners(aligner):
            if partner not in samples:
                continue
            compared = bootstrap.compare(sample, samples[partner])
            better = aligner if (compared.difference > 0) != lower_is_better(metric) else partner
            differences.append(
                Difference(
                    aligner=aligner,
                    versus=partner,
                    metric=metric,
                    difference=compared.difference,
                    ci=compared.interval,
                    ratio=compared.ratio,
                    ratio_ci=compared.ratio_interval,
                    excludes_zero=compared.excludes_zero,
                    established=compared.excludes_zero and _beyond(intervals[better], levels.chance, metric),
                    p=compared.p,
                    **cohort.labels,
                )
            )
    return rows, differences


def _within(interval: Interval | None, metric: str) -> Interval | None:
    """The part of an interval where values can lie: fractions from 0 to 1, ranks from 1."""
    low, high = (1.0, float("inf")) if lower_is_better(metric) else (0.0, 1.0)
    return None if interval is None else (max(interval[0], low), min(interval[1], high))


def _beyond(interval: Interval | None, chance: float, metric: str) -> bool:
    """Whether an interval lies on the better side of chance."""
    if interval is None:
        return False
    return interval[1] < chance if lower_is_better(metric) else interval[0] > chance


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
