from pathlib import Path

from pipeline.files import write_csv


def test_columns_of_rows_with_empty_cells_for_none(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    write_csv([{"b": None, "a": "x, y", "other": 1}, {"a": 0.5, "b": 2}], ("a", "b"), path)
    assert path.read_bytes() == b'a,b\n"x, y",\n0.5,2\n'
