"""How many bits the deep pictures of an index use, as its views state it; recorded in about.json."""

import json
from pathlib import Path
from typing import Final, Literal

Stated = Literal["stated"]
STATED: Final = "stated"
BITS = "bits"


def bits_of(index: Path) -> int | None:
    """The bits with which an index was checked; None where none are stated, or there is no about.json."""
    try:
        found = json.loads((index / "about.json").read_text(encoding="utf-8")).get(BITS)
    except (OSError, ValueError, AttributeError):
        return None
    return found if isinstance(found, int) else None
