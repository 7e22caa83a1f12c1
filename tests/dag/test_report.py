"""The report of a real run: it opens in a real browser, asks the network for nothing, and every number has a source."""

from pathlib import Path

import pytest

from pipeline.config import TASKS
from pipeline.reporting.inputs import Node
from pipeline.reporting.numbers import FORMATS
from tests.dag.project import Project
from tests.reporting.page import check_in_browser, numbers, resolve

pytestmark = pytest.mark.dag

TITLES = [TASKS[task].title for task in ("retrieval", "classification", "multilingual", "segmentation", "long_text")]


def page_of(project: Project) -> Path:
    project.repro()
    return project.folder / "data" / "report" / "index.html"


def test_every_number_is_the_one_in_its_file(project: Project) -> None:
    shown = numbers(page_of(project).read_text(encoding="utf-8"))
    assert len(shown) > 200
    files = {source.partition("#")[0] for source, _, _ in shown}
    tasks = ("retrieval", "classification", "multilingual", "segmentation", "long_text")
    assert files >= {f"data/results/{task}.json" for task in tasks}
    assert "data/accounting/costs.json" in files
    assert any(file.startswith("data/compare/") for file in files)
    for source, form, text in shown:
        assert text == FORMATS[form](float(resolve(project.folder, source))), source


def test_a_changed_number_would_be_noticed() -> None:
    node = Node(Path("x.json"), {"a/b": [0.25]})["a/b"][0]
    assert node.source == "x.json#/a~1b/0"
    assert FORMATS["percent1"](node.number()) == "25.0"
    assert FORMATS["percent1"](0.2513) != "25.0"


def test_it_opens_in_a_browser_and_asks_for_nothing(project: Project) -> None:
    check_in_browser(page_of(project), TITLES, images=11)


def test_scenes_are_labelled_composed(project: Project) -> None:
    text = page_of(project).read_text(encoding="utf-8")
    scenes = project.params()["scenes"]["composed"]["count"]
    assert scenes > 0
    assert text.count("composed scene") >= 2
