"""Reading Parquet files without the machinery for data sets of many, whose import takes most of a second."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """The whole table, or `columns` of it in that order.

    Raises:
        pyarrow.ArrowException, OSError: the file is not a Parquet file, or lacks a column.
    """
    with pq.ParquetFile(path) as file:
        if columns is None:
            return file.read()
        _require_columns(file, columns)
        return file.read(list(columns)).select(list(columns))


def parquet_pieces(path: Path, columns: Sequence[str], rows: int) -> Iterator[pa.Table]:
    """Some columns in that order, at most `rows` rows at a time; errors as `read_parquet`."""
    with pq.ParquetFile(path) as file:
        _require_columns(file, columns)
        for batch in file.iter_batches(rows, columns=list(columns)):
            yield pa.Table.from_batches([batch]).select(list(columns))


def _require_columns(file: pq.ParquetFile, columns: Sequence[str]) -> None:
    lacking = [name for name in columns if name not in file.schema_arrow.names]
    if lacking:
        raise pa.ArrowInvalid(f"no column {', '.join(lacking)} in {', '.join(file.schema_arrow.names)}")
