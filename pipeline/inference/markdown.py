"""Tables and cells of a model card, and the files that they are filled from, which may be anybody's."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pipeline.plain import read_regular

_MOST = 1 << 26  # bytes of a file that is read


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table with an empty line before it."""
    lines = ["| " + " | ".join(map(cell, row)) + " |" for row in rows]
    return "\n".join(["", "| " + " | ".join(head) + " |", "|" + "---|" * len(head), *lines])


def cell(value: Any) -> str:
    """One line, with nothing that Markdown or HTML would read: names may come from anybody."""
    text = " ".join(str(value).split())
    return "".join(f"\\{letter}" if letter in "|<>`[]" else letter for letter in text)


def read_text(path: Path) -> str:
    """The text of a file; empty where it cannot be read."""
    try:
        return read_regular(path, _MOST).decode("utf-8", "replace")
    except OSError:
        return ""


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file that may be missing or of another version; empty then."""
    try:
        content = json.loads(read_text(path) or "{}")
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
