import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import DataError
from pipeline.evaluation.cohorts import Cohort, Measured
from pipeline.evaluation.findings import sentence
from pipeline.evaluation.outcomes import Comparisons, report
from pipeline.evaluation.results import TaskResult
from pipeline.evaluation.table import render


def result() -> TaskResult:
    rng = np.random.default_rng(0)
    families = np.repeat([f"f{i}" for i in range(20)], 5)
    cohort = Cohort("emoji", families, np.arange(100) % 2, (50, 50), prompt_set="single")
    outcomes = {"control": np.zeros(100), "good": np.ones(100), "same": np.zeros(100)}
    outcomes["noisy"] = (rng.random(100) < 0.5).astype(float)
    measured = [Measured("concept_top1_accuracy", np.full(100, 0.02), outcomes)]
    rows, differences = report(cohort, measured, Comparisons("control", {"noisy": "good"}), 200, 0)
    sentences = tuple(sentence(difference) for difference in differences)
    return TaskResult("classification", "How.", "image", tuple(rows), tuple(differences), sentences, ("stamps: none",))


def test_rows_carry_chance_and_differences_are_from_the_control() -> None:
    found = result()
    assert [row.aligner for row in found.rows] == ["control", "good", "same", "noisy"]
    good = found.rows[1]
    assert (good.value, good.chance, good.ci) == (1.0, pytest.approx(0.02), (1.0, 1.0))
    assert (good.n_items, good.n_candidates, good.n_families, good.repeats) == (100, 50.0, 20, 2)
    assert [(d.aligner, d.versus, d.excludes_zero) for d in found.differences] == [
        ("good", "control", True),
        ("same", "control", False),
        ("noisy", "control", True),
        ("noisy", "good", True),
    ]
    assert found.differences[3].difference < 0
    assert "good beats control on emoji" in found.sentences[0]
    assert "no established difference" in found.sentences[1]


def test_written_and_read_again_it_is_the_same(tmp_path: Path) -> None:
    found = result()
    found.write(tmp_path)
    assert TaskResult.read(tmp_path / "classification.json") == found
    summary = json.loads((tmp_path / "classification.summary.json").read_text())
    assert summary["good"]["emoji"] == {"concept_top1_accuracy_single": 1.0}
    with open(tmp_path / "classification.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 4
    assert lines[1]["ci_low"] == "1.0"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"schema": 3}, "schema 3"),
        ({"unit": "pixel"}, "unit"),
        ({"surprise": 1}, "surprise"),
        ({"rows": [{"aligner": "x"}]}, "dataset"),
    ],
)
def test_a_result_of_another_form_is_refused(tmp_path: Path, change: dict[str, object], match: str) -> None:
    result().write(tmp_path)
    path = tmp_path / "classification.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataError, match=match):
        TaskResult.read(path)
    with pytest.raises(DataError, match="dvc repro"):
        TaskResult.read(tmp_path / "absent.json")


def test_a_difference_without_an_interval_is_said_to_have_none() -> None:
    difference = replace(result().differences[0], ci=None, excludes_zero=False)
    assert "too few concept families" in sentence(difference)


def test_the_table_shows_chance_control_and_stars() -> None:
    text = render(result(), "control")
    header, line = text.splitlines()[:2]
    assert header.split() == ["data", "set", "metric", "prompts", "chance", "control", "good", "noisy", "same"]
    assert line.count("*") == 2
    assert "0.0200" in line
    assert "left out: stamps: none" in text
