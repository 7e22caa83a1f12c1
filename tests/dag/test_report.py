"""The report of a real run: it opens in a real browser, asks the network for nothing, and every number has a source."""

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from pipeline.reporting.inputs import Node
from pipeline.reporting.numbers import FORMATS
from tests.dag.project import Project
from tests.reporting.browser import launched

pytestmark = pytest.mark.dag

TASKS = (
    "Retrieval",
    "Zero-shot classification",
    "Languages",
    "Segmentation of composed scenes",
    "Text length on composed scenes",
)


def page_of(project: Project) -> Path:
    project.repro()
    return project.folder / "data" / "report" / "index.html"


class Numbers(HTMLParser):
    """Collects (source, format, text) of every number on the page, and the number cells of tables without one."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str, str]] = []
        self._open: tuple[str, str] | None = None

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        if tag == "span" and "data-source" in given:
            self._open = (str(given["data-source"]), str(given["data-format"]))

    def handle_data(self, data: str) -> None:
        if self._open is not None:
            self.found.append((*self._open, data))
            self._open = None


def resolve(root: Path, source: str) -> Any:
    name, _, pointer = source.partition("#")
    value = json.loads((root / name).read_text(encoding="utf-8"))
    for part in pointer.split("/")[1:]:
        part = part.replace("~1", "/").replace("~0", "~")
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value


def test_every_number_is_the_one_in_its_file(project: Project) -> None:
    parser = Numbers()
    parser.feed(page_of(project).read_text(encoding="utf-8"))
    assert len(parser.found) > 200
    files = {source.partition("#")[0] for source, _, _ in parser.found}
    tasks = ("retrieval", "classification", "multilingual", "segmentation", "long_text")
    assert files >= {f"data/results/{task}.json" for task in tasks}
    assert files >= {"data/compare/similarity.json", "data/accounting/costs.json"}
    for source, form, text in parser.found:
        assert text == FORMATS[form](float(resolve(project.folder, source))), source


def test_a_changed_number_would_be_noticed() -> None:
    node = Node(Path("x.json"), {"a/b": [0.25]})["a/b"][0]
    assert node.source == "x.json#/a~1b/0"
    assert FORMATS["percent1"](node.number()) == "25.0"
    assert FORMATS["percent1"](0.2513) != "25.0"


def test_it_opens_in_a_browser_and_asks_for_nothing(project: Project, tmp_path: Path) -> None:
    page_file = page_of(project)
    with launched() as browser:
        for width, scheme in ((1280, "light"), (400, "dark")):
            context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
            page = context.new_page()
            complaints: list[str] = []
            asked: list[str] = []
            page.on("console", lambda m, c=complaints: c.append(m.text) if m.type in ("error", "warning") else None)
            page.on("pageerror", lambda error, c=complaints: c.append(str(error)))
            page.on("request", lambda request, a=asked: a.append(request.url))
            page.goto(page_file.as_uri())
            page.wait_for_load_state("networkidle")
            assert not complaints
            assert [url for url in asked if not url.startswith("data:")] == [page_file.as_uri()]
            headings = page.locator("h2")
            titles = headings.all_inner_texts()
            assert set(TASKS) <= set(titles), titles
            assert all(headings.nth(position).is_visible() for position in range(len(titles)))
            broken = page.evaluate("[...document.images].filter(i => !i.complete || !i.naturalWidth).length")
            assert page.evaluate("document.images.length") > 10
            assert broken == 0
            overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert overflow <= 0, f"the page is {overflow} px wider than a window of {width} px"
            shot = tmp_path / f"{width}.png"
            page.screenshot(path=str(shot), full_page=True)
            assert shot.stat().st_size > 10_000
            context.close()


def test_scenes_are_labelled_composed(project: Project) -> None:
    text = page_of(project).read_text(encoding="utf-8")
    scenes = project.params()["scenes"]["count"]
    assert scenes > 0
    assert text.count("composed scene") >= 2
