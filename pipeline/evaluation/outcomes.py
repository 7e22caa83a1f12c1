"""From outcomes per test item to rows and differences: the same statistics for every task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.config import EvaluateParams
from pipeline.evaluation.cohorts import Cohort, Measured
from pipeline.evaluation.results import Difference, Row
from pipeline.statistics import ClusterBootstrap, FamilyBootstrap, Outcomes, spread

PROJECTOR = "projector"  # of an aligner with a dense head, its plain projector of local tokens is a method beside it


@dataclass(frozen=True)
class Comparisons:
    """Which aligners an aligner is compared with.

    Attributes:
        control: every other aligner is compared with it; None for none.
        versus: aligner -> one more that it is compared with.
    """

    control: str | None
    versus: Mapping[str, str]

    @classmethod
    def of(cls, params: EvaluateParams) -> "Comparisons":
        """Those that params.yaml asks for."""
        return cls(params.control, params.versus)

    def partners(self, aligner: str) -> tuple[str, ...]:
        """The aligners that `aligner` is compared with, the control first; never itself.

        A second method of an aligner (`<aligner>-projector`) is one of them.
        """
        named = (self.control, self.versus.get(aligner), f"{aligner}-{PROJECTOR}")
        return tuple(dict.fromkeys(other for other in named if other is not None and other != aligner))


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
    ungrouped = FamilyBootstrap(cohort.families, draws, seed)
    for metric in measured:
        groups = metric.groups
        bootstrap = ungrouped if groups is None else FamilyBootstrap(cohort.families, draws, seed, groups)
        spreads = {name: _spread(cohort, outcomes, groups) for name, outcomes in metric.outcomes.items()}
        chance, items = bootstrap.value(metric.chance), len(metric.chance)
        new = compare(cohort, metric.metric, bootstrap, metric.outcomes, spreads, chance, items, comparisons)
        rows += new[0]
        differences += new[1]
    return rows, differences


def compare(
    cohort: Cohort,
    metric: str,
    bootstrap: ClusterBootstrap[Outcomes],
    outcomes: Mapping[str, Outcomes],
    spreads: Mapping[str, float | None],
    chance: float,
    items: int,
    comparisons: Comparisons,
) -> tuple[list[Row], list[Difference]]:
    """Rows of every aligner on one metric, and its differences from its partners under the same draws.

    Args:
        outcomes: per aligner, in the form that `bootstrap` takes.
        spreads: per aligner, the standard deviation over repeats.
        chance: the value under random answers.
        items: number of test items.
    """
    rows: list[Row] = []
    differences: list[Difference] = []
    for aligner, of_aligner in outcomes.items():
        rows.append(
            Row(
                aligner=aligner,
                metric=metric,
                value=bootstrap.value(of_aligner),
                chance=chance,
                ci=bootstrap.interval(of_aligner),
                sd_repeats=spreads[aligner],
                n_items=items,
                n_candidates=float(np.mean(cohort.candidates)),
                n_families=bootstrap.families,
                repeats=len(cohort.candidates),
                **cohort.labels,
            )
        )
        for partner in comparisons.partners(aligner):
            if partner not in outcomes:
                continue
            compared = bootstrap.compare(of_aligner, outcomes[partner])
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
                    **cohort.labels,
                )
            )
    return rows, differences


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
