"""Families of related concepts, over all data sets at once: what must be held out together.

Two concepts are related when they are about the same noun, when a picture or a caption (in any language) belongs to
both, or when one is a keyword of the other and most of their keywords agree. Encoders play no part, so splits do not
change when encoders do.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from pipeline.datasets.concepts import concept_key
from pipeline.datasets.nouns import nouns

KEYWORD_OVERLAP = 0.7  # share of the shorter keyword list; at 0.6, chains of keywords join a third of all emoji


@dataclass
class Concept:
    """What is known of a concept, gathered from every data set that has it."""

    classname: str | None = None
    keywords: set[str] = field(default_factory=set)
    images: set[str] = field(default_factory=set)
    captions: set[str] = field(default_factory=set)


class UnionFind:
    """Disjoint sets of strings; each set is named by its smallest member."""

    def __init__(self, members: Iterable[str]) -> None:
        self._parent = {member: member for member in members}

    def find(self, member: str) -> str:
        """The name of the set that holds `member`."""
        root = member
        while self._parent[root] != root:
            root = self._parent[root]
        while self._parent[member] != root:
            self._parent[member], member = root, self._parent[member]
        return root

    def union(self, one: str, other: str) -> None:
        """Merge the sets of two members."""
        first, second = sorted((self.find(one), self.find(other)))
        self._parent[second] = first


def find_families(concepts: Mapping[str, Concept]) -> dict[str, str]:
    """Family of each concept, named by the concept of the family that sorts first.

    A concept without a class name (a picture of a folder with captions alone) is related by pictures and captions only.
    """
    sets = UnionFind(concepts)
    named = {key: concept.classname for key, concept in concepts.items() if concept.classname is not None}
    all_nouns = frozenset[str]().union(*(nouns(name) for name in named.values()))
    for shared in (
        {key: nouns(name, all_nouns) for key, name in named.items()},
        {key: concept.images for key, concept in concepts.items()},
        {key: {caption.casefold().strip(" .!?") for caption in concept.captions} for key, concept in concepts.items()},
    ):
        _unite_by(shared, sets)
    for key, concept in concepts.items():
        for keyword in concept.keywords:
            other = concept_key(keyword)
            if other in concepts and overlap(concept.keywords, concepts[other].keywords) >= KEYWORD_OVERLAP:
                sets.union(key, other)
    return {key: sets.find(key) for key in concepts}


def overlap(one: Collection[str], other: Collection[str]) -> float:
    """Share of the shorter of two collections that is in both, from 0 to 1."""
    shorter = min(len(one), len(other))
    return len(set(one) & set(other)) / shorter if shorter else 0.0


def _unite_by(shared: Mapping[str, Iterable[str]], sets: UnionFind) -> None:
    """Unite the concepts that have one of their values in common."""
    first: dict[str, str] = {}
    for key, values in shared.items():
        for value in values:
            sets.union(first.setdefault(value, key), key)
