"""Rows of CSV, TSV, JSON lines, JSON and Parquet; a row that cannot be read has a reason and raises nothing."""

import contextlib
import csv
import io
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.datasets.json_names import parsed, repeated_in
from pipeline.datasets.lines import MAX_LINE, EndlessLine, Lines, LongLine, PlainLines
from pipeline.datasets.plain_files import open_plain, open_unpacked
from pipeline.datasets.raw_files import read_json
from pipeline.errors import SourceError

KINDS = (".csv", ".tsv", ".jsonl", ".jsonlines", ".ndjson", ".json", ".parquet")
_BATCH = 256  # rows of Parquet in memory at a time; they may hold pictures
_TOGETHER_BYTES = 1 << 20  # of rows that are made Python objects together, which is faster than one by one
TRUNCATED = (OSError, EOFError, zlib.error)  # what reading a file raises, compressed or not
_START = 1 << 16  # bytes in which a line of a table ends
_MOST_COLUMNS = 10_000


@dataclass(frozen=True, slots=True)
class Row:
    """One row: where it is written and its values by column, or the reason why it has none."""

    place: str
    values: dict[str, Any]
    reason: str | None = None


def kind_of(path: Path) -> str:
    """The format of a table by its name; text may be gzipped (`.gz`).

    Raises:
        SourceError: not one of `KINDS`.
    """
    names = path.suffixes[:-1] if path.suffix.lower() == ".gz" else path.suffixes
    kind = names[-1].lower() if names else ""
    if kind not in KINDS or (kind == ".parquet" and path.suffix.lower() == ".gz"):
        raise SourceError(f"{path} is a table of an unknown kind; its name should end in {', '.join(KINDS)}.")
    return kind


def columns_of(path: Path) -> list[str] | None:
    """The columns of a table with a header; None where every row names its own.

    Raises:
        SourceError: the table is missing or not of the kind that its name implies.
    """
    kind = kind_of(path)
    if kind == ".parquet":
        with _parquet(path) as file:
            return list(file.schema_arrow.names)
    if kind in (".csv", ".tsv"):
        with open_text(path) as file:
            return _header(path, _Cells(file, kind))
    return None


def rows_of(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """The rows of a table; for Parquet only `columns` are read.

    Raises:
        SourceError: as `columns_of`.
    """
    kind = kind_of(path)
    if kind == ".parquet":
        yield from _parquet_rows(path, columns)
    elif kind in (".csv", ".tsv"):
        yield from _csv_rows(path, kind)
    elif kind == ".json":
        yield from _json_rows(path)
    else:
        yield from _line_rows(path)


@contextlib.contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """The file as text; bytes that are not UTF-8 become lone surrogates, so that their row can be named.

    Lines end at line feeds; at carriage returns only where the file begins without any line feed, as old ones do.

    Raises:
        SourceError: it cannot be opened.
    """
    start = b""
    with _opened(path) as file, contextlib.suppress(*TRUNCATED):  # rows tell where it is cut short
        start = file.read(_START)
    newline = None if b"\r" in start and b"\n" not in start else "\n"
    with _opened(path) as file:
        yield io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline=newline)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The bytes of a table, unpacked; only what opening it raises is a `SourceError`."""
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(open_unpacked(path))
        except OSError as error:
            raise SourceError(f"{path} cannot be read: {error.strerror or error}") from error
        yield file


class _Cells(Iterator[list[str]]):
    """The cells of each row of CSV or TSV. A carriage return that ends no line is a space.

    CSV has quotes as RFC 4180 says. TSV has none: a line is a row, and a quote is a letter. Since pandas and others
    write quotes in TSV as well, they count in a line that is as long as the header says when they do, but not if one
    is open at its end.
    """

    def __init__(self, file: TextIO, kind: str) -> None:
        self._lines = PlainLines(file)
        self._reader = None if kind == ".tsv" else csv.reader(self._lines, strict=True)
        self._columns = 0
        self.delimiter = "," if self._reader else "\t"

    @property
    def line_num(self) -> int:
        """How many lines have been read."""
        return self._lines.number

    def __next__(self) -> list[str]:
        self._lines.begin_row()
        if self._reader:
            return next(self._reader)
        line = next(self._lines).removesuffix("\n")
        if not line:
            return []
        cells = line.split("\t")
        if '"' in line:
            with contextlib.suppress(csv.Error):
                quoted = next(csv.reader([line], delimiter="\t", strict=True))
                cells = quoted if len(quoted) == (self._columns or len(quoted)) else cells
        self._columns = self._columns or len(cells)
        return cells


def _header(path: Path, reader: _Cells) -> list[str]:
    csv.field_size_limit(MAX_LINE)
    try:
        names = [name.strip() for name in next(reader, [])]
    except (csv.Error, LongLine, *TRUNCATED) as error:
        raise SourceError(f"{path} cannot be read as a table: {error}") from error
    if len(names) > _MOST_COLUMNS:
        raise SourceError(f"{path} has {len(names):,} columns; at most {_MOST_COLUMNS:,} are read.")
    if any(_not_utf8(name) or "\0" in name for name in names):
        raise SourceError(f"{path} is not a UTF-8 table. Convert it, for example with: iconv -t UTF-8")
    return names


def _csv_rows(path: Path, kind: str) -> Iterator[Row]:
    with open_text(path) as file:
        reader = _Cells(file, kind)
        names = _header(path, reader)
        while True:
            start = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except (csv.Error, LongLine) as error:  # a quote may stay open over many lines
                lines = f"line {start}" if start >= reader.line_num else f"lines {start} to {reader.line_num}"
                yield Row(lines, {}, f"cannot be read: {error}")
                if isinstance(error, EndlessLine):
                    return
                continue
            except TRUNCATED as error:  # a truncated compressed file
                yield Row(f"line {reader.line_num}", {}, f"the table is cut short: {error}")
                return
            if not cells:
                continue
            cells = [cell.strip() for cell in cells]
            values: dict[str, Any] = dict(zip(names, cells + [""] * (len(names) - len(cells)), strict=False))
            reason = None
            if any(cells[len(names) :]):
                reason = (
                    f"{len(cells)} cells, but {len(names)} columns; put quotes around what holds a {reader.delimiter!r}"
                )
            elif any(map(_not_utf8, cells)):
                reason = "the row is not valid UTF-8"
            yield Row(f"line {reader.line_num}", values, reason)


def _line_rows(path: Path) -> Iterator[Row]:
    with _opened(path) as file:
        lines = Lines(file, b"\n")
        while True:
            lines.begin_row()
            try:
                line = next(lines)
            except StopIteration:
                return
            except LongLine as error:
                yield Row(f"line {lines.number}", {}, f"the line is {error}")
                if isinstance(error, EndlessLine):
                    return
                continue
            except TRUNCATED as error:
                yield Row(f"line {lines.number + 1}", {}, f"the table is cut short: {error}")
                return
            if line.strip():
                yield _object(line, f"line {lines.number}")


def _object(line: bytes, place: str) -> Row:
    try:
        content = parsed(line.decode("utf-8-sig"))[0]
    except UnicodeDecodeError as error:
        return Row(place, {}, f"the line is not valid UTF-8: {error}")
    except (ValueError, RecursionError) as error:
        return Row(place, {}, f"the line is not valid JSON: {error}")
    if not isinstance(content, dict):
        return Row(place, {}, f"expected an object {{...}}, found a {type(content).__name__}")
    return Row(place, content, repeated_in(content))


def _json_rows(path: Path) -> Iterator[Row]:
    content = read_json(path, entries=True)
    if not isinstance(content, list):
        raise SourceError(f"{path}: expected a list of objects, found a {type(content).__name__}.")
    for number, entry in enumerate(content, start=1):
        good = isinstance(entry, dict)
        reason = repeated_in(entry) if good else f"expected an object, not {type(entry).__name__}"
        yield Row(f"row {number}", entry if good else {}, reason)


def _parquet(path: Path) -> pq.ParquetFile:
    try:
        with open_plain(path):  # a pipe or a device is never handed to Arrow
            return pq.ParquetFile(path)
    except (pa.ArrowException, OSError, MemoryError, ValueError) as error:
        raise SourceError(f"{path} cannot be read as Parquet: {error}") from error


def _parquet_rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    with _parquet(path) as file:
        number = 0
        batches = iter(file.iter_batches(batch_size=_BATCH, columns=list(columns)))
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            except (pa.ArrowException, OSError, MemoryError, ValueError) as error:
                yield Row(f"row {number + 1}", {}, f"the file is damaged from here on: {error}")
                return
            for values, reason in _rows_of_batch(batch):
                number += 1
                yield Row(f"row {number}", values, reason)


def _rows_of_batch(batch: pa.RecordBatch) -> Iterator[tuple[dict[str, Any], str | None]]:
    """The values of each row, or why it has none."""
    if batch.num_columns and batch.nbytes <= _TOGETHER_BYTES:
        with contextlib.suppress(Exception):  # one by one, rows tell which of them it is
            columns = [batch.column(name).to_pylist() for name in batch.schema.names]
            return ((dict(zip(batch.schema.names, row, strict=True)), None) for row in zip(*columns, strict=True))
    return (_values(batch, row) for row in range(len(batch)))


def _values(batch: pa.RecordBatch, row: int) -> tuple[dict[str, Any], str | None]:
    try:
        return {name: batch.column(name)[row].as_py() for name in batch.schema.names}, None
    except UnicodeDecodeError as error:
        return {}, f"the row is not valid UTF-8: {error}"
    except Exception as error:  # a date beyond the year 9999, a number that is none, an offset that is damaged, ...
        return {}, f"the row has a value that cannot be read: {type(error).__name__}: {error}"


def _not_utf8(text: str) -> bool:
    return any("\ud800" <= letter <= "\udfff" for letter in text) if not text.isascii() else False
