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


def test_rows_are_compared_with_their_own_control_and_with_the_same_method_alone() -> None:
    compared = Comparisons({"a": "blind", "b": "dark"}, {"a": "b", "b": "c"})
    assert compared.partners("a") == ("blind", "b")
    assert compared.partners("a-mask-supervised") == ("blind-mask-supervised", "b-mask-supervised")
    told = ("blind-caption-supervised", "b-caption-supervised", "a", "b")
    assert compared.partners("a-caption-supervised") == told, "plain projectors have seen no mask either"
    assert compared.partners("blind") == compared.partners("blind-caption-supervised") == ()
    assert compared.controls(("a", "a-mask-supervised", "blind", "b")) == {"a": "blind"}
    assert Comparisons("blind", {}).partners("a") == ("blind",)
    assert Comparisons("blind", {}).partners("blind") == ()
    assert Comparisons(None, {"a": "b"}).partners("a") == ("b",)


@pytest.mark.parametrize(("chance", "established"), [(0.3, True), (0.62, False), (0.9, False)])
def test_what_is_not_above_chance_beats_nothing(chance: float, established: bool) -> None:
    """A value of 0.6 on 40 families, with an interval of about 0.45 to 0.75, against one of 0."""
    families = np.array([f"f{i}" for i in range(40)])
    cohort = Cohort("emoji", families, np.zeros(40, dtype=int), (9,))
    outcomes = {"control": np.zeros(40), "some": (np.arange(40) < 24).astype(float)}
    measured = [Measured("top1_accuracy", np.full(40, chance), outcomes)]
    rows, (difference,) = report(cohort, measured, Comparisons("control", {}), 500, 0)
    assert difference.excludes_zero
    assert difference.established == established
    assert ("beats" in sentence(difference)) == established
    assert ("neither is above chance" in sentence(difference)) != established
    found = TaskResult("classification", "", "image", tuple(rows), (difference,), (), controls={"some": "control"})
    assert ("*" in render(found).splitlines()[1]) == established


def test_an_interval_stays_where_values_can_lie() -> None:
    """Ten hits among 200 in one of three repeats alone: the effect of repeats would carry the interval below 0."""
    hits = np.zeros(600)
    hits[:10] = 1
    cohort = Cohort("emoji", np.arange(600).astype(str), np.repeat(np.arange(3), 200), (9, 9, 9))
    rows, _ = report(cohort, [Measured("top1", np.full(600, 0.1), {"a": hits})], Comparisons(None, {}), 500, 0)
    assert rows[0].ci is not None
    assert rows[0].ci[0] == 0.0
    assert rows[0].ci[1] > 0.03


def test_the_most_frequent_class_stands_beside_chance() -> None:
    cohort = Cohort("emoji", np.array(list("abcd")), np.zeros(4, dtype=int), (2,))
    most = np.array([1.0, 1.0, 1.0, 0.0])
    classes = np.array(["x", "x", "x", "y"])
    by = {"a": np.ones(4)}
    measured = [Measured("top1", np.full(4, 0.5), by, None, most), Measured("mean", np.full(4, 0.5), by, classes, most)]
    rows, _ = report(cohort, measured, Comparisons(None, {}), 100, 0)
    assert [row.most_frequent for row in rows] == [0.75, 0.5]
    assert "most frequent" in render(TaskResult("classification", "", "image", tuple(rows), (), ()))


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
    text = render(replace(result(), controls={"good": "control", "same": "control", "noisy": "control"}))
    header, line = text.splitlines()[:2]
    assert header.split() == ["data", "set", "metric", "prompts", "chance", "control", "good", "noisy", "same"]
    assert line.count("*") == 2
    assert "0.0200" in line
    assert "left out: stamps: none" in text
