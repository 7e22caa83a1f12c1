"""Families of related concepts, over all data sets at once: what must be held out together.

Two concepts are related when they are about the same noun, when a picture or a caption (in any language) belongs to
both, or when one is a keyword of the other and most of their keywords agree. Encoders play no part, so splits do not
change when encoders do.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.coded import Coded
from pipeline.datasets.concepts import concept_key
from pipeline.datasets.nouns import nouns
from pipeline.ids import Ids

KEYWORD_OVERLAP = 0.7  # share of the shorter keyword list; at 0.6, chains of keywords join a third of all emoji


@dataclass(frozen=True)
class ConceptTable:
    """What is known of C concepts, gathered from every data set that has them; a concept is its number.

    Attributes:
        names: (C,) their keys, sorted.
        classname: (C,) as each is written in a prompt; null for a picture of a folder with captions alone, which is
            related by pictures and captions only.
        keywords: of the concepts that have some.
        images: (n,) picture and (n,) concept of each label, as numbers.
        captions: (p,) caption, as `folded` makes them equal, and (p,) concept of each pair, as numbers.
    """

    names: Ids
    classname: Coded
    keywords: Mapping[int, Collection[str]]
    images: tuple[np.ndarray, np.ndarray]
    captions: tuple[np.ndarray, np.ndarray]


def folded(caption: str) -> str:
    """What two captions have in common that relate their concepts."""
    return caption.casefold().strip(" .!?")


def find_families(concepts: ConceptTable) -> np.ndarray:
    """Family of each concept, (C,) int32: the concept of the family that sorts first."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(concepts.names)
    related = [
        _sharing(*concepts.images),
        _sharing(*concepts.captions),
        _of_one_noun(concepts.classname),
        np.array(list(_by_keywords(concepts)), np.int32).reshape(-1, 2),
    ]
    one, other = np.concatenate(related).T
    graph = coo_array((np.ones(len(one), np.int8), (one, other)), shape=(count, count))
    _, labels = connected_components(graph, directed=False)
    first = np.full(count, count, np.int32)
    np.minimum.at(first, labels, np.arange(count, dtype=np.int32))
    return np.asarray(first[labels])


def overlap(one: Collection[str], other: Collection[str]) -> float:
    """Share of the shorter of two collections that is in both, from 0 to 1."""
    shorter = min(len(one), len(other))
    return len(set(one) & set(other)) / shorter if shorter else 0.0


def _sharing(values: np.ndarray, concepts: np.ndarray) -> np.ndarray:
    """Pairs (m, 2) int32 that join all concepts of one value, from value and concept (n,) of each place."""
    order = np.argsort(values, kind="stable")
    values, concepts = values[order], concepts[order].astype(np.int32, copy=False)
    joined = (values[1:] == values[:-1]) & (concepts[1:] != concepts[:-1])
    return np.stack([concepts[:-1][joined], concepts[1:][joined]], axis=1)


def _of_one_noun(classname: Coded) -> np.ndarray:
    """Pairs (m, 2) int32 that join all concepts about one noun; the names of classes are looked at once each."""
    named = np.flatnonzero(classname.codes >= 0)
    codes, first = np.unique(classname.codes[named], return_index=True)
    names = classname.values.take(codes).tolist()
    known = frozenset[str]().union(*map(nouns, names))
    number_of: dict[str, int] = {}
    found = [
        (number_of.setdefault(noun, len(number_of)), concept)
        for name, concept in zip(names, named[first].tolist(), strict=True)
        for noun in nouns(name, known)
    ]
    by_noun = np.array(found, np.int32).reshape(-1, 2)
    return np.concatenate([_sharing(classname.codes[named], named), _sharing(by_noun[:, 0], by_noun[:, 1])])


def _by_keywords(concepts: ConceptTable) -> Iterator[tuple[int, int]]:
    having = list(concepts.keywords)
    number_of = dict(zip(concepts.names.take(np.array(having, np.int64)), having, strict=True))
    for concept, keywords in concepts.keywords.items():
        for keyword in keywords:
            other = number_of.get(concept_key(keyword))
            if other is not None and overlap(keywords, concepts.keywords[other]) >= KEYWORD_OVERLAP:
                yield concept, other
