"""What a cell of a table or a field of JSON holds, as texts: nothing becomes text that was none."""

import ast
import base64
import json
import re
import warnings
from collections.abc import Sequence
from typing import Any

from pipeline.errors import DataError

_MAX_LABEL = 4096  # characters
_MAX_LIST = 1 << 20  # characters of a list that is written as text
_STRING = r"""(?:"(?:[^"\\]|\\.)*+"|'(?:[^'\\]|\\.)*+')"""
_ENTRY = rf"(?:{_STRING}|None|null|nan|NaN)"
_BASE64 = ("/9j/", "iVBORw0KGgo", "R0lGOD", "UklGR", "SUkqA", "TU0AK", "Qk0")  # JPEG, PNG, GIF, WebP, TIFF, BMP
_DATA_ADDRESS = re.compile(r"data:[^,]{0,100};base64,")
_NEGATIVE = re.compile(r"\s*-\d+(\.0)?\s*")
_WRITTEN_LIST = re.compile(rf"\[\s*+(?:{_ENTRY}\s*+,?+\s*+)++\]", re.DOTALL)


def lines_of(text: str) -> list[str]:
    """The lines of a text, which end at a line feed, with or without a carriage return before it.

    Other signs at which `str.splitlines` would split (U+0085, U+2028, form feeds) are part of a line. So is a lone
    carriage return, as a space, unless the text has no line feed.
    """
    text = text.replace("\r\n", "\n")
    text = text.replace("\r", " " if "\n" in text else "\n")
    return text.removesuffix("\n").split("\n") if text else []


def is_null(value: Any) -> bool:
    """Whether a value stands for a missing one: null, or the NaN that pandas writes for it."""
    return value is None or (isinstance(value, float) and value != value)


def text_of(value: Any, what: str) -> str:
    """A value that has to be a text.

    Raises:
        DataError: it is null, or of another kind; `what` names it.
    """
    if is_null(value):
        raise DataError(f"{what} is null, not a text")
    if not isinstance(value, str):
        raise DataError(f"{what} is a {type(value).__name__}, not a text")
    return value


def captions_of(value: Any) -> tuple[list[str], list[str]]:
    """The captions in a field, and what is wrong with the others.

    It is a text, a list of texts, or nothing. A text that is itself a list of texts, as JSON, Python or NumPy write it
    (the CSV of Flickr30k has such cells), is that list.
    """
    if isinstance(value, str):
        value = written_list(value) or value
    if is_null(value):
        return [], []
    several = isinstance(value, list | tuple)
    texts, problems = [], []
    for number, entry in enumerate(value if several else [value], start=1):
        try:
            texts.append(text_of(entry, "caption"))
        except DataError as error:
            problems.append(f"caption {number} of {len(value)}: {error}" if several else str(error))
    return texts, problems


def written_list(text: str) -> list[str | None] | None:
    """The entries of a list of texts that is written as text, or None if it is not one."""
    text = text.strip()
    if not (text.startswith("[") and text.endswith("]")) or len(text) > _MAX_LIST:
        return None
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return _python_list(text)
    good = isinstance(content, list) and all(isinstance(entry, str) or is_null(entry) for entry in content)
    return content if good and any(isinstance(entry, str) for entry in content) else None


def _python_list(text: str) -> list[str | None] | None:
    if not _WRITTEN_LIST.fullmatch(text):
        return None
    entries: list[str | None] = []
    for written in re.findall(_ENTRY, text, re.DOTALL):
        if written[0] not in "\"'":
            entries.append(None)
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SyntaxWarning)  # of backslashes that escape nothing
                entries.append(ast.literal_eval(written))
        except (SyntaxError, ValueError):  # a line break within quotes, an incomplete escape
            entries.append(written[1:-1])
    return entries if any(entry is not None for entry in entries) else None


def label_of(value: Any, what: str) -> str:
    """A label as text; empty where there is none: null, NaN, or a negative number, which stands for no label.

    Whole numbers are labels too, also as the 3.0 that pandas makes of 3 where others are missing.

    Raises:
        DataError: it is neither text nor whole number, too long, or no valid UTF-8.
    """
    if is_null(value):
        return ""
    if isinstance(value, str):
        if len(value) > _MAX_LABEL:
            raise DataError(f"{what} has {len(value)} characters; at most {_MAX_LABEL}")
        if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
            raise DataError(f"{what} is not valid UTF-8")
        return "" if _NEGATIVE.fullmatch(value) else value.strip()
    if isinstance(value, bool) or not (isinstance(value, int) or (isinstance(value, float) and value.is_integer())):
        raise DataError(
            f"{what} is {shortened(repr(value))}, a {type(value).__name__}; expected a text or a whole number"
        )
    return "" if value < 0 else str(int(value))


def labels_of(value: Any, what: str) -> list[str]:
    """The labels in a field: one, or several of a list; empty ones are left out.

    Raises:
        DataError: as `label_of`.
    """
    values: Sequence[Any] = value if isinstance(value, list | tuple) else [value]
    return [label for label in (label_of(entry, what) for entry in values) if label]


def picture_in_base64(text: str) -> bytes | None:
    """The bytes of a picture that is written as base64, also behind `data:image/...;base64,`; None if it is not."""
    written = _DATA_ADDRESS.sub("", text, count=1) if text.startswith("data:") else text.strip()
    if not written.startswith(_BASE64):
        return None
    try:
        return base64.b64decode("".join(written.split()), validate=True)
    except ValueError:
        return None


def shortened(text: str, length: int = 80) -> str:
    """A text for a message: its first characters and how many there are, if there are more than `length`."""
    return text if len(text) <= length else f"{text[:length]}... ({len(text)} characters)"
