"""Names and captions come from data: on the page they are text, whatever they hold."""

import ast
import json
from collections import Counter
from html.parser import HTMLParser

import pytest

from pipeline.config import load_config
from pipeline.datasets.tables import TEXTS, read_table, write_table
from tests.reporting.small import ROOT, SmallProject
from tests.reporting.test_small_projects import full

WORDS = ("bird", "birds", "Vogel", "MIT")  # classes, and what else comes from data
NAMES = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style><style>*{display:none}",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)",
)


class Tags(HTMLParser):
    """Counts elements, attributes and event handlers."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: Counter[str] = Counter()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements[f"{tag}({', '.join(sorted(name for name, _ in attributes))})"] += 1

    def handle_data(self, data: str) -> None:
        self.text += data


def poisoned(project: SmallProject, name: str) -> str:
    """The full page, made again with classes and captions called so."""
    for path in (project.folder / "data").rglob("texts.parquet"):
        table = read_table(path)
        write_table(table.set_column(2, TEXTS.field("text"), [[name] * len(table)]), path)
    for path in (project.folder / "data").rglob("*.json"):
        content = path.read_text(encoding="utf-8")
        for word in WORDS:
            content = content.replace(f'"{word}"', json.dumps(name))
        path.write_text(content, encoding="utf-8")
    settings = load_config(project.folder / "params.yaml").settings("report")
    return project.page(settings)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_text(project: SmallProject, name: str) -> None:
    plain = Tags(full(project))
    hostile = Tags(poisoned(project, name))
    assert hostile.elements == plain.elements
    assert hostile.text.count(name) > 5


@pytest.mark.parametrize("name", ["\x1b]0;title\x07", "\x9b31m", "turned \u202e around"])
def test_control_characters_are_spelled_out(project: SmallProject, name: str) -> None:
    full(project)
    page = poisoned(project, name)
    assert not set(page) & set("\x1b\x07\x9b\u202e")
    assert ascii(name)[1:-1] in page


def test_markup_is_made_of_constants_alone() -> None:
    """A text from data becomes part of the page by `format`, which escapes it, and never by `Markup` itself."""
    known = {("svg.py", "name"), ("write.py", "_source(environment, name)")}
    for path in (ROOT / "pipeline/reporting").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Markup") and node.args:
                constant = isinstance(node.args[0], ast.Constant)
                assert constant or (path.name, ast.unparse(node.args[0])) in known, f"{path}, line {node.lineno}"
