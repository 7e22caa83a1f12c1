"""The headings of docs/troubleshooting.md are messages as the code has them."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import dvc
import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
HEADING = re.compile(r"^### (`+) ?(.+?) ?\1\n\n(.+?)$", re.MULTILINE)
ENTRIES = [(match[2].strip(), match[3]) for match in HEADING.finditer(PAGE)]
_PLACE = re.compile(r"%(?:\.\d)?[sdrg]")


def texts(path: Path) -> Iterator[str]:
    """Every text in a file of Python, with `…` for what is put into it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield _PLACE.sub("…", node.value)
        elif isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)


@cache
def messages(*folders: Path) -> str:
    return "\n".join(text for folder in folders for path in sorted(folder.rglob("*.py")) for text in texts(path))


def test_the_page_has_the_messages_that_users_meet() -> None:
    assert len(ENTRIES) == PAGE.count("\n### ") >= 25
    assert len({heading for heading, _ in ENTRIES}) == len(ENTRIES)


@pytest.mark.parametrize(("heading", "first"), ENTRIES, ids=[heading for heading, _ in ENTRIES])
def test_a_heading_is_a_message_of_the_code(heading: str, first: str) -> None:
    if first.startswith("From your shell"):
        return
    own = messages(ROOT / "pipeline", ROOT / "stages")
    said = messages(Path(dvc.__file__).parent) if first.startswith("DVC's own") else own
    assert heading in said


def test_messages_of_dvc_are_not_taken_for_ours() -> None:
    own = messages(ROOT / "pipeline", ROOT / "stages")
    dvcs = [heading for heading, first in ENTRIES if first.startswith("DVC's own")]
    assert dvcs
    assert not [heading for heading in dvcs if heading in own]


def test_a_text_is_seen_with_its_gaps(tmp_path: Path) -> None:
    path = tmp_path / "said.py"
    path.write_text('raise ValueError(f"No {what} at " f"{place}. Look.")\nlog("%s of %d", 1, 2)\n', encoding="utf-8")
    assert {"No … at …. Look.", "… of …"} <= set(texts(path))
