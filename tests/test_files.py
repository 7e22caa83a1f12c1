import ast
import csv
from pathlib import Path

import pytest

from pipeline.files import plain_cell, write_csv


def test_columns_of_rows_with_empty_cells_for_none(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    write_csv([{"b": None, "a": "x, y", "other": 1}, {"a": 0.5, "b": 2}], ("a", "b"), path)
    assert path.read_bytes() == b'a,b\n"x, y",\n0.5,2\n'


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1+1"])
def test_a_text_that_would_be_a_formula_is_none(text: str, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    write_csv([{"name": text, "value": -1.5, "count": -2}], ("name", "value", "count"), path)
    with open(path, encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    shown = text.replace("\r", " ")
    assert row == {"name": f"'{shown}", "value": "-1.5", "count": "-2"}


@pytest.mark.parametrize("text", ["plain", "a=b", "", " =1", "caf\u00e9", "\u51e7", None, True])
def test_other_cells_stay_as_they_are(text: str | bool | None) -> None:
    assert plain_cell(text) is text


def test_every_csv_for_people_is_written_by_one_function_or_holds_numbers() -> None:
    """`curves.py` writes line by line, and closed forms write numbers alone."""
    root = Path(__file__).resolve().parents[1]
    writers = {
        path.name
        for package in ("pipeline", "stages")
        for path in (root / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("csv.writer", "csv.DictWriter")
    }
    assert writers == {"files.py", "curves.py", "repeats.py"}
