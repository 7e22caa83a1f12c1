"""Reading Parquet files without the machinery for data sets of many, whose import takes most of a second."""

from collections.abc import Sequence
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
        lacking = [name for name in columns if name not in file.schema_arrow.names]
        if lacking:
            raise pa.ArrowInvalid(f"no column {', '.join(lacking)} in {', '.join(file.schema_arrow.names)}")
        return file.read(list(columns)).select(list(columns))
