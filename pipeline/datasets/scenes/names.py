"""What an object is called in a caption: with the right article at first, and "the ..." later."""

import re

from pipeline.datasets.nouns import singular
from pipeline.datasets.templates import fill

_ARTICLES = ("a", "an", "the", "some")
_PLAIN = re.compile(r"[^\W_]+(?:[-'’ ][^\W_]+)*")  # words alone: no comma, no quotation mark
_VERBS = ("is", "are", "was", "were", "can", "means", "stands", "lets", "makes", "carries", "carry", "saw", "resembles")
_CLAUSE = frozenset((*_VERBS, "because", "you", "your", "it's"))  # words that make a sentence of a name
_MAX_WORDS = 6


def names(classname: str, caption: str | None) -> tuple[str, str]:
    """What to call an object when it is first named, and when it is named again.

    The article is that of the caption if it has one; a lower-case name without one gets "a", "an" or "some". Anything
    that is not a plain noun phrase ("Eat your broccoli"), or may be a proper name ("Saturn"), is quoted.

    Args:
        classname: the concept, without article.
        caption: the caption of its picture in English, or None.
    """
    words = classname.split()
    first = caption.split()[0].lower() if caption and caption.split() else ""
    plain = (
        _PLAIN.fullmatch(classname) is not None
        and len(words) <= _MAX_WORDS
        and not _CLAUSE.intersection(word.lower() for word in words[1:])
    )
    if not plain or (first not in _ARTICLES and not classname[0].islower()):
        inner = classname.replace('"', "'")
        return f'something called "{inner}"', f'"{inner}"'
    if first in ("the", "some"):
        return f"{first} {classname}", f"the {classname}"
    if first not in _ARTICLES and singular(_head(words)) != _head(words):
        return f"some {classname}", f"the {classname}"
    return fill("a {}", classname), f"the {classname}"


def _head(words: list[str]) -> str:
    """The noun that decides the number: "bunch" of "bunch of grapes", "grapes" of "green grapes"."""
    for position, word in enumerate(words):
        if position and word in ("of", "with", "in", "on", "for", "from"):
            return words[position - 1]
    return words[-1]
