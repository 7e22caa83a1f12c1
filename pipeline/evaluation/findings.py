"""What a task gathers until its result is complete; and differences in words."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pipeline.config import EvaluateParams
from pipeline.evaluation.cohorts import Cohort, Measured
from pipeline.evaluation.outcomes import Comparisons, Levels, compare, report
from pipeline.evaluation.overlap import Measure, Overlap, OverlapBootstrap, chance_of, most_frequent_of
from pipeline.evaluation.ranks import MedianBootstrap
from pipeline.evaluation.results import AVERAGE, Difference, Evaluated, Row, TaskResult, Unit, lower_is_better
from pipeline.statistics import spread


class Findings:
    """What a task finds, gathered data set by data set."""

    def __init__(self, params: EvaluateParams, seed: int) -> None:
        self.rows: list[Row] = []
        self.differences: list[Difference] = []
        self.left_out: list[str] = []
        self._comparisons = Comparisons.of(params)
        self._draws, self._seed = params.bootstrap, seed

    def measure(self, cohort: Cohort, measured: Sequence[Measured]) -> None:
        """Add the rows and differences of some metrics on a cohort."""
        rows, differences = report(cohort, measured, self._comparisons, self._draws, self._seed)
        self.rows += rows
        self.differences += differences

    def measure_change(self, cohort: Cohort, measured: Measured, before: Mapping[str, np.ndarray], called: str) -> None:
        """Add how each aligner differs on a metric from its own outcomes by other scores, which get no rows here.

        Args:
            before: per aligner (n,) float, the other outcomes.
            called: what an aligner is called in these, behind its name.
        """
        others = {name: f"{name} {called}" for name in measured.outcomes}
        outcomes = {**measured.outcomes, **{other: before[name] for name, other in others.items()}}
        comparisons = Comparisons(None, others)
        both = replace(measured, outcomes=outcomes)
        self.differences += report(cohort, [both], comparisons, self._draws, self._seed)[1]

    def measure_medians(self, cohort: Cohort, metric: str, ranks: Mapping[str, np.ndarray], chance: float) -> None:
        """Add the rows and differences of median ranks on a cohort.

        Args:
            ranks: per aligner (n,) int64.
            chance: the median rank under random orders.
        """
        bootstrap = MedianBootstrap(cohort.families, self._draws, self._seed, cohort.repeat)
        repeats = np.unique(cohort.repeat)
        spreads = {
            name: spread([float(np.median(of[cohort.repeat == repeat])) for repeat in repeats])
            for name, of in ranks.items()
        }
        items = len(cohort.repeat)
        rows, differences = compare(cohort, metric, bootstrap, ranks, spreads, Levels(chance), items, self._comparisons)
        self.rows += rows
        self.differences += differences

    def measure_areas(
        self, cohort: Cohort, measures: Mapping[str, Measure], overlaps: Mapping[str, Overlap], items: int
    ) -> None:
        """Add the rows and differences of some measures of areas.

        Args:
            cohort: its families, in sorted order, are those along the second axis of every overlap; each repeat has as
                many candidates as there are classes.
            measures: by metric.
            overlaps: of each method; the true pixels are the same in all.
            items: number of test items.
        """
        truth = next(iter(overlaps.values())).truth
        repeats, _, classes = truth.shape
        for metric, measure in measures.items():
            bootstrap = OverlapBootstrap(measure, cohort.families, self._draws, self._seed)
            spreads = {
                name: spread([bootstrap.value(overlap.of_repeat(repeat)) for repeat in range(repeats)])
                for name, overlap in overlaps.items()
            }
            pixels = truth.sum(axis=(0, 1))
            levels = Levels(chance_of(measure, pixels, classes), most_frequent_of(measure, pixels))
            rows, differences = compare(cohort, metric, bootstrap, overlaps, spreads, levels, items, self._comparisons)
            self.rows += rows
            self.differences += differences

    def evaluated(
        self,
        task: str,
        protocol: str,
        unit: Unit,
        examples: Sequence[dict[str, Any]] = (),
        shown: str | None = None,
    ) -> Evaluated:
        """The finished result, with a sentence for each difference."""
        result = TaskResult(
            task=task,
            protocol=protocol,
            unit=unit,
            rows=tuple(self.rows),
            differences=tuple(self.differences),
            sentences=tuple(sentence(difference) for difference in self.differences),
            left_out=tuple(self.left_out),
            controls=self._comparisons.controls(row.aligner for row in self.rows),
        )
        return Evaluated(result, tuple(examples), shown)


def sentence(difference: Difference) -> str:
    """A sentence on what a difference establishes."""
    where = f"on {difference.dataset}, {difference.metric}"
    if difference.prompt_set:
        where += f" with prompts {difference.prompt_set!r}"
    if difference.language == AVERAGE:
        where += " on average over all languages but English"
    elif difference.language:
        where += f" in {difference.language!r}"
    if difference.tokens:
        where += f" at {difference.tokens} tokens"
    if difference.ci is None:
        return f"{difference.aligner} against {difference.versus} {where}: too few concept families for an interval."
    low, high = difference.ci
    measured = f"{difference.difference:+.4f}, 95 % interval {low:+.4f} to {high:+.4f}"
    if not difference.excludes_zero:
        return f"{difference.aligner} against {difference.versus} {where}: no established difference ({measured})."
    if not difference.established:
        return f"{difference.aligner} against {difference.versus} {where}: neither is above chance ({measured})."
    better = (difference.difference > 0) != lower_is_better(difference.metric)
    verb = "beats" if better else "falls behind"
    return f"{difference.aligner} {verb} {difference.versus} {where} ({measured})."
