"""What commands print: tables for people, one JSON value for programs; colours on terminals alone."""

import json
import os
import sys
from collections.abc import Sequence
from typing import Any, TextIO

_COLOURS = {"bold": "1", "green": "32", "red": "31", "yellow": "33", "dim": "2"}


class Console:
    """Prints the answer of one command.

    Attributes:
        json: whether the answer is one JSON value; nothing else is then written to the stream.
    """

    def __init__(self, *, json: bool = False, stream: TextIO | None = None) -> None:
        self.json = json
        self._stream = sys.stdout if stream is None else stream
        dumb = "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
        self._colours = self._stream.isatty() and not dumb and not json

    def answer(self, value: Any) -> None:
        """The answer as JSON, if that is asked for."""
        if self.json:
            self._stream.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")

    def line(self, text: str = "") -> None:
        """A line for people."""
        if not self.json:
            self._stream.write(text + "\n")

    def styled(self, text: object, style: str) -> str:
        """`text` in bold, green, red, yellow or dim where there are colours; characters that move a cursor escaped."""
        plain = printable(str(text))
        return f"\x1b[{_COLOURS[style]}m{plain}\x1b[0m" if self._colours else plain

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Rows under their headers, in columns."""
        if self.json:
            return
        cells = [list(headers), *([printable(str(cell)) for cell in row] for row in rows)]
        widths = [max(len(row[column]) for row in cells) for column in range(len(headers))]
        for number, row in enumerate(cells):
            line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            self.line(self.styled(line, "bold") if number == 0 else line)


def printable(text: str) -> str:
    """`text` with control characters and lone surrogates, as data may hold them, written as escapes."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)
