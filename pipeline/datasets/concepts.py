"""From captions and names to the concept key that all data sets share."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from pipeline.datasets.words import ARTICLES

_QUOTE = re.compile(r"[“”„«»\"]")
_ASIDE = re.compile(r"\s*\([^)]*\)")
_END = re.compile(r"[.!?…](?:\s|$)|\s*—")
_EDGES = " \t'‘’.,;:!?…–—-"


def concept_name(caption: str) -> str:
    """The concept in a short English caption, as it is written in a prompt.

    Keeps the first sentence up to a dash, without its article, asides in brackets and punctuation at the edges:
    "A compact disc for music! (old)" gives "compact disc for music".
    """
    text = _QUOTE.sub("", unicodedata.normalize("NFC", caption)).strip()
    text = _ASIDE.sub("", text).strip(_EDGES) or text.strip(_EDGES)
    if end := _END.search(text):
        text = text[: end.start()]
    words = text.strip(_EDGES).split()
    while len(words) > 1 and words[0].lower() in ARTICLES:
        words = words[1:]
    name = " ".join(words).strip(_EDGES)
    return name or caption.strip()


def concept_key(name: str) -> str:
    """The key under which `name` is one concept in every data set: "A Cat." and "cat" give "cat"."""
    return concept_name(name).lower().replace("’", "'")


def class_concepts(names: Sequence[str]) -> list[str]:
    """The concept of each class: the key that data sets share, or the name itself where two classes share that key."""
    keys = [concept_key(name) for name in names]
    common = {key for key, count in Counter(keys).items() if count > 1}
    return [name.lower() if key in common else key for name, key in zip(names, keys, strict=True)]
