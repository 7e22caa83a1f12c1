"""Lines of a file in bounded memory: one that is too long is an error, and the next one is read."""

from collections.abc import Iterator
from typing import IO, AnyStr, Generic, TextIO

MAX_LINE = 16 << 20  # characters of text, or bytes
_MAX_ROW = 4 * MAX_LINE  # of lines together that quotes hold together as one row
_MAX_SKIPPED = 1 << 28  # behind the beginning of a line; a gigabyte of zeros is a megabyte of gzip


class LongLine(Exception):
    """A line, or the lines of one row, are longer than is read; the next line can be read."""


class EndlessLine(LongLine):
    """A line does not end within reach: the rest of the file is not read."""


class Lines(Generic[AnyStr]):
    """The lines of a file, each with the line feed `end`.

    Attributes:
        number: how many have been read.
    """

    def __init__(self, file: IO[AnyStr], end: AnyStr) -> None:
        self._file: IO[AnyStr] = file
        self._end: AnyStr = end
        self.number = 0
        self._row = 0

    def __iter__(self) -> Iterator[AnyStr]:
        return self

    def begin_row(self) -> None:
        """The next line begins a row."""
        self._row = 0

    def __next__(self) -> AnyStr:
        """The next line.

        Raises:
            LongLine: it is too long, or the lines since `begin_row` are; `EndlessLine` if it cannot be passed over.
        """
        line: AnyStr = self._file.readline(MAX_LINE)
        if not line:
            raise StopIteration
        self.number += 1
        self._row += len(line)
        if len(line) == MAX_LINE and not line.endswith(self._end):
            self._pass_over()
            raise LongLine(f"longer than {MAX_LINE:,} characters")
        if self._row > _MAX_ROW:
            raise LongLine(f"a row of more than {_MAX_ROW:,} characters")
        return line

    def _pass_over(self) -> None:
        passed = 0
        while rest := self._file.readline(MAX_LINE):
            passed += len(rest)
            if rest.endswith(self._end):
                return
            if passed > _MAX_SKIPPED:
                raise EndlessLine(f"longer than {MAX_LINE + _MAX_SKIPPED:,} characters; what follows is not read")


class PlainLines(Lines[str]):
    """The lines of a text file, whose other carriage returns are spaces."""

    def __init__(self, file: TextIO) -> None:
        super().__init__(file, "\n")

    def __next__(self) -> str:
        """As of `Lines`."""
        line = super().__next__()
        return line.replace("\r\n", "\n").replace("\r", " ") if "\r" in line else line
