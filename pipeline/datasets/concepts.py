"""From captions and names to the concept key that all data sets share."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

from pipeline.datasets.words import ARTICLES

_QUOTE = re.compile(r"[“”„«»\"]")
_ASIDE = re.compile(r"\s*\([^)]*\)")
_END = re.compile(r"[.!?…](?:\s|$)|\s*—")
_ABBREVIATION = re.compile(  # with a full stop that ends no sentence: initials, and these words
    r"(?:(?<=[\s.(-])|^)([^\W\d_]|ste?|dr|mrs?|ms|mt|ft|jr|sr|prof|rev|sgt|capt|lt|vs|cf|spp?|ssp|subsp|var)\.(?=\s)",
    re.IGNORECASE,
)
_TOLD_APART = 1 << 20  # names of a table
_EDGES = " \t'‘’.,;:!?…–—-"


def concept_name(caption: str) -> str:
    """The concept in a short English caption, as it is written in a prompt.

    Keeps the first sentence up to a dash, without its article, asides in brackets and punctuation at the edges:
    "A compact disc for music! (old)" gives "compact disc for music".
    """
    text = _QUOTE.sub("", unicodedata.normalize("NFC", caption)).strip()
    text = _ASIDE.sub("", text).strip(_EDGES) or text.strip(_EDGES)
    stops = {match.end() - 1 for match in _ABBREVIATION.finditer(text)}
    text = text[: next((end.start() for end in _END.finditer(text) if end.start() not in stops), len(text))]
    return _without_article(text) or caption.strip()


def without_abbreviations(text: str) -> str:
    """The text without the full stops of abbreviations: "st. bernard" gives "st bernard"."""
    return _ABBREVIATION.sub(r"\1", text)


def _without_article(text: str) -> str:
    words = text.strip(_EDGES).split()
    while len(words) > 1 and words[0].lower() in ARTICLES:
        words = words[1:]
    return " ".join(words).strip(_EDGES)


def caption_key(caption: str) -> str:
    """The key of the concept in a short English caption: that of `concept_name`."""
    return _folded(concept_name(caption))


def concept_key(name: str) -> str:
    """The key under which `name` is one concept in every data set: "A Cat." and "cat" give "cat".

    The whole name counts, unlike in a caption: "E. coli" and "E. faecalis", or "crane (bird)" and "crane", are two.
    """
    return _folded(_cased(name))


def _cased(name: str) -> str:
    text = _QUOTE.sub("", unicodedata.normalize("NFC", name))
    return _without_article(text) or name.strip()


class CasedConcepts:
    """Concept keys of a table in which letter case tells concepts apart: "Cardigan", the dog, and "cardigan".

    A name has the key that data sets share; where others of the table differ from it in letter case alone, each is
    taken as it is written, as in `class_concepts`. Behind an article, capitals are those of a sentence: "A Cat" is cat.
    """

    def __init__(self, names: Iterable[str]) -> None:
        written: dict[str, str] = {}
        self._several: set[str] = set()
        for name in names:
            cased, key = _cased_and_key(name)
            if cased != written.get(key, cased):
                self._several.add(key)
            elif len(written) < _TOLD_APART:
                written[key] = cased

    def key(self, name: str) -> str:
        """The concept key of a name."""
        cased, key = _cased_and_key(name)
        return cased if key in self._several else key


def _cased_and_key(name: str) -> tuple[str, str]:
    cased, key = _cased(name), concept_key(name)
    return (key if name.strip(_EDGES).partition(" ")[0].lower() in ARTICLES else cased), key


def _folded(name: str) -> str:
    return name.lower().replace("’", "'")


def class_concepts(names: Sequence[str]) -> list[str]:
    """The concept of each class, all different: the key that data sets share; where two classes have the same, the
    name as it is written (Cardigan, the dog, and cardigan); where that is the same too, with a number: "crane (2)".
    """
    keys = [concept_key(name) for name in names]
    common = {key for key, count in Counter(keys).items() if count > 1}
    concepts: dict[str, None] = {}
    for name, key in zip(names, keys, strict=True):
        plain = name if key in common else key
        concept, number = plain, 1
        while concept in concepts:
            number += 1
            concept = f"{plain} ({number})"
        concepts[concept] = None
    return list(concepts)
