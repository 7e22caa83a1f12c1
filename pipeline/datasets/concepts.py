"""From captions and names to the concept key that all data sets share."""

import re
import unicodedata

from pipeline.datasets.words import ARTICLES

_ASIDE = re.compile(r"\s*\([^)]*\)")
_SENTENCE_END = re.compile(r"[.!?…](?:\s|$)")
_EDGES = " \t\"'“”‘’«».,;:!?…–—-"


def concept_name(caption: str) -> str:
    """The concept in a short English caption, as it is written in a prompt.

    Keeps the first sentence, without its article, asides in brackets and punctuation at the edges:
    "A compact disc for music! (old)" gives "compact disc for music".
    """
    text = unicodedata.normalize("NFC", caption).strip()
    text = _ASIDE.sub("", text).strip(_EDGES) or text.strip(_EDGES)
    if end := _SENTENCE_END.search(text):
        text = text[: end.start()]
    words = text.strip(_EDGES).split()
    while len(words) > 1 and words[0].lower() in ARTICLES:
        words = words[1:]
    name = " ".join(words).strip(_EDGES)
    return name or caption.strip()


def concept_key(name: str) -> str:
    """The key under which `name` is one concept in every data set: "A Cat." and "cat" give "cat"."""
    return concept_name(name).lower().replace("’", "'")
