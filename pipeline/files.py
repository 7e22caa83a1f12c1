"""JSON and CSV files as every stage writes them."""

import csv
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import DataError

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # the last ones are wide


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


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object that a stage wrote at `path`; an empty one if there is no file.

    Raises:
        DataError: it cannot be read as that.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as JSON ({error}). Delete it and run: dvc repro") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds a {type(content).__name__}, not an object. Delete it and run: dvc repro")
    return content


def write_csv(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], path: Path) -> None:
    """Write these columns of each row as CSV in UTF-8 at `path`, under a line of their names; None is an empty cell.

    Texts that a spreadsheet would run as a formula have a quote before them, see `plain_cell`.
    """
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows({name: plain_cell(value) for name, value in row.items()} for row in rows)


def plain_cell(value: Any) -> Any:
    """A value for a CSV that people open: a text that would be a formula, such as `=1+1`, begins with a quote.

    Spreadsheets take a text that begins with `=`, `+`, `-`, `@`, a tab or a line end for one, and show a quote in front
    of it as none. A carriage return, which would end the row for some readers, is a space. Numbers stay as they are.
    """
    if not isinstance(value, str):
        return value
    plain = value.replace("\r\n", "\n").replace("\r", " ") if "\r" in value else value
    return f"'{plain}" if value.startswith(_FORMULA) else plain
