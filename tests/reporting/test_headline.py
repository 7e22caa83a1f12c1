"""The figures that DVC's tables show are few, named shortly, and those that the report leads with."""

import csv
import json
from pathlib import Path
from typing import Any

import yaml

from pipeline.reporting import write_headline
from pipeline.reporting.headline import FIGURES, WIDTH
from tests.reporting.small import ROOT, SmallProject, difference, one_aligner, row, with_control


def written(project: SmallProject, params: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, str]]]:
    write_headline(project.configure(params), Path("data/headline.json"), Path("data/headline.csv"))
    with open("data/headline.csv", newline="", encoding="utf-8") as file:
        return json.loads(Path("data/headline.json").read_text(encoding="utf-8")), list(csv.DictReader(file))


def test_a_small_project_has_chance_beside_each_figure(project: SmallProject) -> None:
    low = row("plain", "i2t_recall@10", 0.15)
    project.evaluated("retrieval", (row("plain", "t2i_recall@10"), low, row("plain", "t2i_recall@1")))
    figures, points = written(project, one_aligner())
    assert figures == {
        "mine": {"t2i@10": 0.5, "t2i@10 chance": 0.1, "i2t@10": 0.15, "i2t@10 chance": 0.1},
        "> chance": 1,
    }
    assert [(point["figure"], point["row"], point["value"]) for point in points] == [
        ("mine t2i@10", "plain", "0.5"),
        ("mine t2i@10", "chance", "0.1"),
        ("mine i2t@10", "plain", "0.15"),
        ("mine i2t@10", "chance", "0.1"),
    ]


def test_a_large_one_has_a_dozen_and_says_how_many_beat_the_control(project: SmallProject) -> None:
    sets = [f"set-{number}" for number in range(20)]
    rows = tuple(row(who, dataset=name) for name in sets for who in ("plain", "blind"))
    project.evaluated("retrieval", rows, tuple(difference("plain", "blind", dataset=name) for name in sets))
    figures, points = written(project, with_control())
    assert figures["> chance"] == figures["> control"] == 20
    names = [f"{name}.{key}" for name, entry in figures.items() if isinstance(entry, dict) for key in entry]
    assert 6 <= len(names) <= FIGURES - 2
    assert sum(len(name) + 4 for name in ("data/headline.json", "> chance", "> control", *names)) <= WIDTH
    assert {point["row"] for point in points} == {"plain", "blind", "chance"}


def test_names_that_would_fall_together_stay_whole(project: SmallProject) -> None:
    rows = tuple(row("plain", f"category_{kind}", prompt_set="last", language="en")
                 for kind in ("mean_per_class_accuracy", "top1_accuracy"))  # fmt: skip
    params = one_aligner()
    params["prompts"] = {"sets": {"single": ["a {}."]}}
    params["stores"]["prompts"] = {"classnames-words": {"dataset": "classnames", "view": "words", "encoder": "words"}}
    params["evaluate"]["tasks"] = {
        "multilingual": {"datasets": ["mine"]},
        "classification": {"classes": [{"dataset": "mine", "label": "category"}]},
    }
    project.evaluated("classification", rows)
    project.evaluated("multilingual", (row("plain", "category_top1_accuracy", language="average"),))
    figures, _ = written(project, params)
    assert set(figures["mine"]) == {"category", "category others", "category chance", "category others chance"}


def test_without_results_there_are_no_figures_and_no_error(project: SmallProject) -> None:
    assert written(project, one_aligner()) == ({}, [])


def test_dvc_shows_these_figures_alone_and_draws_few_plots() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    bodies = {name: stage.get("do", stage) for name, stage in stages.items()}
    assert {name: body["metrics"] for name, body in bodies.items() if "metrics" in body} == {
        "report": ["data/headline.json"]
    }
    templates = [next(iter(plot.values()))["template"] for body in bodies.values() for plot in body.get("plots", [])]
    own = {path.stem for path in (ROOT / ".dvc" / "plots").glob("*.json")}
    assert own <= set(templates)
    assert set(templates) <= own | {"scatter"}
