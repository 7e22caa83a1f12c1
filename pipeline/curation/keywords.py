"""Which entries of a list of concepts a caption names, and caps on the most frequent ones (MetaCLIP)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.datasets.hash_order import hash_order

_WORD = re.compile(r"\w+(?:['’\-]\w+)*")


def words_of(text: str) -> list[str]:
    """The words of a text in lower case."""
    return _WORD.findall(text.lower())


class Entries:
    """A list of names that are looked for in captions as whole words, longest names and all shorter ones alike."""

    def __init__(self, names: Sequence[str]) -> None:
        self._number = {" ".join(words_of(name)): place for place, name in reversed(list(enumerate(names)))}
        self._number.pop("", None)
        self._lengths = sorted({len(name.split()) for name in self._number})

    def matches(self, text: str) -> list[int]:
        """The numbers of the names that a text has, each once, ascending."""
        words = words_of(text)
        found = set()
        for length in self._lengths:
            for start in range(len(words) - length + 1):
                place = self._number.get(" ".join(words[start : start + length]))
                if place is not None:
                    found.add(place)
        return sorted(found)


@dataclass(frozen=True)
class Capped:
    """What a cap keeps.

    Attributes:
        kept: (N,) bool.
        counts: (E,) int64, how many texts have each entry, before.
        after: (E,) int64, of those that are kept.
        unmatched: texts that have no entry, which are never kept.
    """

    kept: np.ndarray
    counts: np.ndarray
    after: np.ndarray
    unmatched: int


def cap(matches: Sequence[Sequence[int]], ids: Sequence[str], entries: int, most: int, seed: int) -> Capped:
    """MetaCLIP's balance: an entry that more than t = `most` texts have keeps t of them, the others keep all.

    So each of its texts is kept with probability t / count, by the order of a hash of seed, entry and id. A text stays
    if one of its entries keeps it, as one does that also has a rare entry.

    Args:
        matches: (N,), of each text as `Entries.matches` gives it.
        ids: (N,), by which is drawn.
        entries: how many there are.
    """
    owner = np.repeat(np.arange(len(matches)), [len(found) for found in matches])
    entry = np.array([place for found in matches for place in found], np.int64)
    counts = np.bincount(entry, minlength=entries)
    kept = np.zeros(len(matches), bool)
    kept[owner[counts[entry] <= most]] = True
    for crowded in np.flatnonzero(counts > most).tolist():
        rows = owner[entry == crowded]
        order = hash_order(f"{seed}:{crowded}", [ids[row] for row in rows.tolist()])
        kept[rows[order[:most]]] = True
    after = np.bincount(entry[kept[owner]], minlength=entries)
    return Capped(kept, counts, after, sum(not found for found in matches))
