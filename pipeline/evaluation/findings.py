"""What a task gathers while it runs, until it is a result; and differences in words."""

from collections.abc import Sequence
from typing import Any, Literal

from pipeline.config import EvaluateParams
from pipeline.evaluation.cohorts import Cohort, Measured
from pipeline.evaluation.outcomes import Comparisons, report
from pipeline.evaluation.results import AVERAGE, Difference, Evaluated, Row, TaskResult


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

    def evaluated(
        self,
        task: str,
        protocol: str,
        unit: Literal["image", "query", "object", "scene"],
        examples: Sequence[dict[str, Any]] = (),
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
        )
        return Evaluated(result, tuple(examples))


def sentence(difference: Difference) -> str:
    """What a difference establishes, in words."""
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
    verb = "beats" if difference.difference > 0 else "falls behind"
    return f"{difference.aligner} {verb} {difference.versus} {where} ({measured})."
