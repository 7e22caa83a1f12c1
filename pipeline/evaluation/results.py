"""The one form in which every evaluation task reports: rows, differences from the control, sentences.

A result is a JSON file; a flat CSV of its rows serves `dvc plots` and a small nested mapping `dvc metrics`. Beside it
lie examples to look at, single answers of one aligner.
"""

from dataclasses import asdict, field, fields
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from pipeline.errors import DataError
from pipeline.files import write_csv, write_json
from pipeline.statistics import Interval

SCHEMA = 2
AVERAGE = "average"  # in place of a language: the mean over all languages but English
RANK = "rank"  # with which the names of metrics end that are better the lower they are
Unit = Literal["image", "query", "object", "scene", "sound", "sample"]
_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)


def lower_is_better(metric: str) -> bool:
    """Whether a metric is a rank, of which the lower is the better, and no fraction."""
    return metric.endswith(RANK)


@dataclass(frozen=True, config=_STRICT)
class Row:
    """One figure of one aligner on one data set.

    Attributes:
        metric: e.g. "i2t_recall@1".
        value: over the test items of all repeats together.
        chance: what random scores would give.
        ci: 95 % interval, bootstrap over families; None where it has no interval.
        sd_repeats: standard deviation of the value over repeats.
        n_items: test items of all repeats together.
        n_candidates: mean over repeats.
        most_frequent: the value when every answer is the most frequent class of the repeat; None without classes.
        prompt_set: templates of a zero-shot classifier.
        language: of the texts, or "average".
        tokens: length at which texts were cut, special tokens included.
    """

    aligner: str
    dataset: str
    metric: str
    value: float
    chance: float
    ci: Interval | None
    sd_repeats: float | None
    n_items: int
    n_candidates: float
    n_families: int
    repeats: int
    prompt_set: str | None = None
    language: str | None = None
    tokens: int | None = None
    most_frequent: float | None = None

    @property
    def measure(self) -> str:
        """The metric and the conditions it was measured under, e.g. "t2i_recall@1_de" or "t2i_recall@1_en_64tok"."""
        parts = (self.metric, self.prompt_set, self.language, f"{self.tokens}tok" if self.tokens else None)
        return "_".join(part for part in parts if part)

    def flat(self) -> dict[str, Any]:
        """The row as one mapping, with a name and the ends of its interval apart."""
        low, high = self.ci or (None, None)
        name = f"{self.dataset} {self.measure} {self.aligner}"
        return {"name": name, **asdict(self), "ci_low": low, "ci_high": high}


@dataclass(frozen=True, config=_STRICT)
class Difference:
    """An aligner against another on the same test items: difference and ratio with 95 % intervals.

    Attributes:
        excludes_zero: whether the interval of the difference does.
        established: whether it does, and the interval of the better one lies beyond chance as well.
        p: two-sided, of no difference, not corrected for the number of comparisons; None without an interval.
    """

    aligner: str
    versus: str
    dataset: str
    metric: str
    difference: float
    ci: Interval | None
    ratio: float | None
    ratio_ci: Interval | None
    excludes_zero: bool
    prompt_set: str | None = None
    language: str | None = None
    tokens: int | None = None
    established: bool = False
    p: float | None = None


@dataclass(frozen=True, config=_STRICT)
class TaskResult:
    """The result of a task.

    Attributes:
        task: its name.
        protocol: what was done, in a few sentences.
        unit: what an item is.
        sentences: which differences are established.
        left_out: what was not evaluated, and why.
        controls: the control of each row that has one here, by name.
        caveats: in what a control differs from its aligner beside the weights of its image encoder.
    """

    task: str
    protocol: str
    unit: Unit
    rows: tuple[Row, ...]
    differences: tuple[Difference, ...]
    sentences: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    controls: dict[str, str] = field(default_factory=dict)
    caveats: tuple[str, ...] = ()
    schema: int = SCHEMA

    def summary(self) -> dict[str, dict[str, dict[str, float]]]:
        """Aligner, data set, metric to value: what `dvc metrics` shows and compares."""
        nested: dict[str, dict[str, dict[str, float]]] = {}
        for row in self.rows:
            nested.setdefault(row.aligner, {}).setdefault(row.dataset, {})[row.measure] = round(row.value, 6)
        return nested

    def write(self, folder: Path) -> None:
        """Write <task>.json (all), <task>.csv (rows that are fractions) and <task>.summary.json into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        write_json(asdict(self), folder / f"{self.task}.json")
        write_json(self.summary(), folder / f"{self.task}.summary.json")
        columns = ["name", *(one.name for one in fields(Row) if one.name != "ci"), "ci_low", "ci_high"]
        fractions = [row for row in self.rows if not lower_is_better(row.metric)]
        write_csv((row.flat() for row in fractions), columns, folder / f"{self.task}.csv")

    @classmethod
    def read(cls, path: Path) -> "TaskResult":
        """Read and validate a result.

        Raises:
            DataError: it is missing, of another schema, or a field is absent, unknown or of the wrong type.
        """
        try:
            result = TypeAdapter(cls).validate_json(path.read_bytes())
        except FileNotFoundError as error:
            raise DataError(f"No result at {path}. Evaluate with: dvc repro") from error
        except ValidationError as error:
            raise DataError(f"{path} is not a result of schema {SCHEMA}: {error}. Evaluate again: dvc repro") from error
        if result.schema != SCHEMA:
            raise DataError(
                f"{path} has schema {result.schema}; this version reads schema {SCHEMA}. Evaluate again: dvc repro"
            )
        return result


@dataclass(frozen=True, config=_STRICT)
class Evaluated:
    """What a task returns: its result, and examples of repeat 0 as JSON values, in a form of its own.

    `shown` is the aligner whose answers these are, where it is not the one that is shown everywhere.
    """

    result: TaskResult
    examples: tuple[dict[str, Any], ...] = ()
    shown: str | None = None

    def write(self, folder: Path, aligner: str | None) -> None:
        """Write the result, and <task>.examples.json beside it.

        Args:
            aligner: whose answers the examples are.
        """
        self.result.write(folder)
        task = self.result.task
        named = self.shown or aligner
        content = {"schema": SCHEMA, "task": task, "aligner": named, "repeat": 0, "examples": list(self.examples)}
        write_json(content, folder / f"{task}.examples.json")
