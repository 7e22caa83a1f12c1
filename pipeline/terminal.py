"""What reaches a terminal. Names of files and texts of others may hold what it obeys: sequences that retitle its
window, move its cursor, or show letters in another order. Here they are written as escapes, `\\x1b` for the character.
"""

import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

_KEPT = "\n\t"
_CURSOR = re.compile("(?:\x1b\\[A)+")  # how tqdm goes up to another bar, in a write of its own


def _table() -> dict[int, str]:
    """Control characters, separators of lines and paragraphs, changes of direction, and halves of surrogate pairs."""
    codes = [*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
    codes += range(0xD800, 0xE000)
    assert all(unicodedata.category(chr(code)) in ("Cc", "Cf", "Cs", "Zl", "Zp") for code in codes)
    return {code: _escape(code) for code in codes}


def _escape(code: int) -> str:
    named = {0x09: "\\t", 0x0A: "\\n", 0x0D: "\\r"}
    return named.get(code, f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


_IN_NAMES = _table()
_IN_TEXT = {code: escape for code, escape in _IN_NAMES.items() if chr(code) not in _KEPT}


def shown(name: object) -> str:
    """A name or a path in one line, with escapes for whatever a terminal would obey."""
    return str(name).translate(_IN_NAMES)


def harmless(text: str) -> str:
    """Text of several lines, with escapes for whatever a terminal would obey but ends of lines and tabs."""
    return text.translate(_IN_TEXT)


class Shield:
    """A text stream that writes harmless text; a progress bar alone may go back to the start of its line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write what is harmless of it; gives the length of `text`, as every stream does."""
        if text.startswith("\r") and "\n" not in text:  # tqdm
            self._stream.write("\r" + harmless(text[1:]))
        elif _CURSOR.fullmatch(text):
            self._stream.write(text)
        else:
            self._stream.write(harmless(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """As of every stream."""
        for line in lines:
            self.write(line)


@contextmanager
def shielded() -> Iterator[None]:
    """Inside, nothing that is printed, logged or warned of commands the terminal.

    What the encoding of the terminal lacks is escaped as well, rather than ending the program.
    """
    before = sys.stdout, sys.stderr
    shield()
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def shield() -> None:
    """The same for as long as the process lives."""
    sys.stdout, sys.stderr = (cast(TextIO, _shielded(stream)) for stream in (sys.stdout, sys.stderr))


def _shielded(stream: Any) -> Any:
    if isinstance(stream, Shield) or stream is None:
        return stream
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")
    return Shield(stream)
