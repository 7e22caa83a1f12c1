"""What a mistyped name was probably meant to be."""

import difflib
from collections.abc import Sequence


def suggestion(word: str, known: Sequence[str]) -> str:
    """The nearest known word, or else all of them."""
    near = difflib.get_close_matches(word, known, n=1)
    listed = ", ".join(sorted(known))
    return f" Did you mean `{near[0]}`?" if near else f" Known here: {listed}." if listed else ""
