"""JSON whose objects have a name twice: Python keeps the last one and says nothing."""

import json
from collections import Counter
from typing import Any


class Repeated(dict[str, Any]):
    """An object in which some names stand several times; it holds their last values."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.names = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]


def parsed(text: str | bytes) -> tuple[Any, list[str]]:
    """The content of a text of JSON, and the names that stand several times in one of its objects.

    Raises:
        ValueError, RecursionError: as `json.loads`.
    """
    found: list[str] = []

    def made(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        entries = dict(pairs)
        if len(entries) == len(pairs):
            return entries
        repeated = Repeated(pairs)
        found.extend(repeated.names)
        return repeated

    return json.loads(text, object_pairs_hook=made), found


def repeated_in(value: Any) -> str | None:
    """Why an entry cannot be used: in it, or in an object inside it, a name stands several times; None if none does."""
    if isinstance(value, Repeated):
        return f"it has several {value.names}"
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((reason for entry in inner if (reason := repeated_in(entry))), None)


def distinct(text: str | bytes) -> Any:
    """As `json.loads`.

    Raises:
        ValueError: no JSON, or names that stand several times in an object.
    """
    content, names = parsed(text)
    if names:
        listed = ", ".join(map(repr, dict.fromkeys(names[:20])))
        raise ValueError(f"names that stand several times in one object: {listed} ({len(names)} in all); keep one each")
    return content
