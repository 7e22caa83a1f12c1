"""What an English name is about: the nouns by which concepts are related. No encoder, no model: tables and rules."""

import re
from collections.abc import Collection

from pipeline.datasets.concepts import caption_key, without_abbreviations
from pipeline.datasets.words import (
    ANCHORS,
    BODIES,
    CLASS_NOUNS,
    CONTAINERS,
    ENDS_OF_NOUN,
    GENERIC,
    INVARIABLE,
    PEOPLE,
    SYNONYMS,
)

_TIME = re.compile(r"o'clock|-thirty$")
_CLAUSE = re.compile(r"[:;,.!?—–]|--| - ")
_WORD = re.compile(r"[a-z0-9à-ÿ'-]+")
_UNCHANGED = ("ss", "us", "is")  # glass, cactus, tennis


def singular(word: str) -> str:
    """The singular of an English noun, by its ending: cherries, cherry; boxes, box; cats, cat."""
    if word in INVARIABLE or word.endswith(_UNCHANGED) or len(word) < 4 or not word.endswith("s"):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("oes", "ches", "shes", "xes", "sses")):
        return word[:-2]
    return word[:-1]


def nouns(name: str, known: Collection[str] = ()) -> frozenset[str]:
    """The nouns that `name` is about, in the singular, synonyms replaced; at least one.

    "a bunch of grapes" gives grape; "palm tree" gives palm and tree; "woman running" gives running. The face of
    something in `known` counts as that thing: "cat face" gives cat, and "smiling face" gives face.
    """
    text = without_abbreviations(caption_key(name))
    if _TIME.search(text):
        return frozenset({"clock"})
    clauses = [clause for clause in _CLAUSE.split(text) if clause.strip()] or [text]
    found: set[str] = set()
    for part in re.split(r"\band\b|&", clauses[0]):
        found |= _of_part(_WORD.findall(part), known)
    everywhere = {_meaning(word) for word in _WORD.findall(text)}
    if not found & BODIES:
        found |= everywhere & ANCHORS
    if not found:
        found = {"person"} if everywhere & PEOPLE else {text}
    return frozenset(found)


def _of_part(words: list[str], known: Collection[str]) -> set[str]:
    """Nouns of one noun phrase: its head, and what a class noun ("tree", "flower") is a class of."""
    phrase = _phrase(words)
    content = [word for word in phrase if word not in GENERIC]
    if not content:
        return {"person"} if PEOPLE.intersection(phrase) else {_meaning(word) for word in phrase[-1:]}
    head = _meaning(content[-1])
    before = _meaning(content[-2]) if len(content) > 1 else None
    if head == "face" and before in known and before is not None:
        return {before}
    if head in CLASS_NOUNS and before in known and before is not None:
        return {head, before}
    return {head}


def _phrase(words: list[str]) -> list[str]:
    """The words up to the first that ends a noun phrase; beyond "of" after a container."""
    start = 0
    for position, word in enumerate(words):
        if word not in ENDS_OF_NOUN:
            continue
        if word == "of" and position and singular(words[position - 1]) in CONTAINERS:
            start = position + 1
        elif position > start:
            return words[start:position]
    return words[start:] or words


def _meaning(word: str) -> str:
    word = word.removesuffix("'s").strip("'-")
    word = SYNONYMS.get(word, word)
    single = singular(word)
    return SYNONYMS.get(single, single)
