"""JSON and CSV files as every stage writes them."""

import csv
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


def write_json(content: Any, path: Path, *, sort_keys: bool = False) -> None:
    """Write `content` as indented JSON in UTF-8 at `path`, whole or not at all; missing folders are made.

    The same content gives the same bytes. Non-ASCII letters are written as themselves, so that names in any language
    can be read in the file.

    Args:
        sort_keys: write mappings in the order of their keys rather than as they are.

    Raises:
        ValueError: a number is NaN or infinite, which JSON cannot hold; nothing is written.
        TypeError: a value is of no JSON type; nothing is written.
    """
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False, sort_keys=sort_keys) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def write_csv(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], path: Path) -> None:
    """Write these columns of each row as CSV in UTF-8 at `path`, under a line of their names; None is an empty cell."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
