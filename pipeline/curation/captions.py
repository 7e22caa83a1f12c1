"""What is wrong with captions: too short or long, another language, or the same words under many pictures."""

import re
from collections.abc import Sequence

import numpy as np

from pipeline.curation.keywords import words_of

_DIGITS = re.compile(r"\d+")
_END_OF_LATIN = "\u0250"


def normalised(text: str) -> str:
    """A caption without what numbers, punctuation and capitals add: repeated ones differ in little else."""
    return " ".join(words_of(_DIGITS.sub("0", text)))


def length_in_words(texts: Sequence[str]) -> np.ndarray:
    """(n,) int64."""
    return np.array([len(words_of(text)) for text in texts], np.int64)


def repeated(texts: Sequence[str], most: int) -> np.ndarray:
    """Which captions (n,) bool more than `most` pictures have, up to numbers: those of watermarks and place-holders.

    All of them are dropped, not all but one: such a caption says nothing of its picture.
    """
    _, inverse, counts = np.unique([normalised(text) for text in texts], return_inverse=True, return_counts=True)
    return np.asarray(counts[inverse] > most) if len(texts) else np.zeros(0, bool)


def shared(texts: Sequence[str], others: Sequence[str]) -> np.ndarray:
    """Which captions (n,) bool have the words of one of the others, whatever their punctuation and capitals."""
    known = {tuple(words_of(text)) for text in others} - {()}
    return np.array([tuple(words_of(text)) in known for text in texts], bool)


def not_latin(texts: Sequence[str]) -> np.ndarray:
    """Which captions (n,) bool have more letters of other scripts than Latin ones."""
    return np.array([_share_of_latin(text) < 0.5 for text in texts], bool)


def _share_of_latin(text: str) -> float:
    letters = [letter for letter in text if letter.isalpha()]
    return sum(letter < _END_OF_LATIN for letter in letters) / len(letters) if letters else 1.0
