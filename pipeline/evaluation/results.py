"""The one form in which every evaluation task reports: rows, differences from the control, sentences.

A result is a JSON file; a flat CSV of its rows serves `dvc plots` and a small nested mapping `dvc metrics`.
"""

import csv
import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from pipeline.errors import DataError
from pipeline.evaluation.statistics import Interval

SCHEMA = 1
_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, config=_STRICT)
class Row:
    """One figure of one aligner on one data set.

    Attributes:
        metric: e.g. "i2t_recall@1".
        value: over the test items of all repeats together.
        chance: what random scores would give.
        ci: 95 % interval, bootstrap over families; None where there is none.
        sd_repeats: standard deviation of the value over repeats.
        n_items: test items of all repeats together.
        n_candidates: mean over repeats.
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


@dataclass(frozen=True, config=_STRICT)
class Difference:
    """An aligner against another on the same test items: difference and ratio with 95 % intervals."""

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


@dataclass(frozen=True, config=_STRICT)
class TaskResult:
    """What a task found.

    Attributes:
        task: its name.
        protocol: in a sentence or two, what was done.
        unit: what an item is.
        sentences: in plain words, which differences are established.
        left_out: what was not evaluated, and why.
    """

    task: str
    protocol: str
    unit: Literal["image", "query"]
    rows: tuple[Row, ...]
    differences: tuple[Difference, ...]
    sentences: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    schema: int = SCHEMA

    def summary(self) -> dict[str, dict[str, dict[str, float]]]:
        """Aligner, data set, metric to value: what `dvc metrics` shows and compares."""
        nested: dict[str, dict[str, dict[str, float]]] = {}
        for row in self.rows:
            parts = [row.metric, row.prompt_set, row.language]
            name = "_".join(part for part in parts if part)
            nested.setdefault(row.aligner, {}).setdefault(row.dataset, {})[name] = round(row.value, 6)
        return nested

    def write(self, folder: Path) -> None:
        """Write <task>.json (all), <task>.csv (rows that are fractions) and <task>.summary.json into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        _write_json(folder / f"{self.task}.json", asdict(self))
        _write_json(folder / f"{self.task}.summary.json", self.summary())
        columns = [f.name for f in fields(Row) if f.name != "ci"]
        with open(folder / f"{self.task}.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, ["name", *columns, "ci_low", "ci_high"], lineterminator="\n")
            writer.writeheader()
            for row in (row for row in self.rows if not row.metric.endswith("median_rank")):  # no fraction: own scale
                low, high = row.ci or (None, None)
                shown = [row.dataset, row.metric, row.prompt_set, row.aligner]
                name = " ".join(part for part in shown if part)
                writer.writerow({"name": name, **{c: getattr(row, c) for c in columns}, "ci_low": low, "ci_high": high})

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


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")
