"""Reading Parquet files without the machinery for data sets of many, whose import takes most of a second."""

from collections.abc import Iterable, Iterator, Sequence
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


def grouped(pieces: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """The same rows as tables of `rows` rows in one chunk, of which the last may have fewer."""
    waiting: list[pa.Table] = []
    for piece in pieces:
        waiting.append(piece)
        if sum(map(len, waiting)) >= rows:
            joined = pa.concat_tables(waiting)
            whole = len(joined) - len(joined) % rows
            for start in range(0, whole, rows):
                yield joined.slice(start, rows).combine_chunks()
            waiting = [joined.slice(whole)]
    rest = pa.concat_tables(waiting) if waiting else None
    if rest is not None and len(rest):
        yield rest.combine_chunks()


def _require_columns(file: pq.ParquetFile, columns: Sequence[str]) -> None:
    lacking = [name for name in columns if name not in file.schema_arrow.names]
    if lacking:
        raise pa.ArrowInvalid(f"no column {', '.join(lacking)} in {', '.join(file.schema_arrow.names)}")
