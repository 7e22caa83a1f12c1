"""Families that a person would draw, and those that must stay apart."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pytest

from pipeline.coded import Coded
from pipeline.datasets.concepts import caption_key, class_concepts, concept_key, concept_name
from pipeline.datasets.families import ConceptTable, find_families, folded, overlap
from pipeline.datasets.nouns import nouns, singular
from pipeline.ids import Ids


@dataclass
class Concept:
    """What is known of a concept."""

    classname: str | None = None
    keywords: set[str] = field(default_factory=set)
    images: set[str] = field(default_factory=set)
    captions: set[str] = field(default_factory=set)


def families_of(concepts: Mapping[str, Concept]) -> dict[str, str]:
    """The family of each concept, by name."""
    names = sorted(concepts)

    def numbered(values: Callable[[Concept], set[str]]) -> tuple[np.ndarray, np.ndarray]:
        places = [(value, number) for number, name in enumerate(names) for value in values(concepts[name])]
        return Coded.of([value for value, _ in places]).codes, np.array([number for _, number in places], np.int32)

    table = ConceptTable(
        names=Ids.of(names),
        classname=Coded.of_pieces([pa.chunked_array([[concepts[name].classname for name in names]], pa.string())]),
        keywords={number: concepts[name].keywords for number, name in enumerate(names) if concepts[name].keywords},
        images=numbered(lambda concept: concept.images),
        captions=numbered(lambda concept: {folded(caption) for caption in concept.captions}),
    )
    return {name: names[family] for name, family in zip(names, find_families(table).tolist(), strict=True)}


def families(*names: str) -> dict[str, str]:
    return families_of({concept_key(name): Concept(name) for name in names})


@pytest.mark.parametrize(
    "names",
    [
        ("man running", "woman running", "person running"),
        ("cat", "cat face", "A white kitten.", "grinning cat with smiling eyes", "A black cat."),
        ("automobile", "A race car.", "oncoming automobile", "taxi"),
        ("one o’clock", "twelve-thirty", "alarm clock", "A clock face.", "mantelpiece clock"),
        ("red heart", "broken heart", "heart with arrow", "two hearts", "A heart."),
        ("raised hand", "crossed fingers", "raised fist", "index pointing up", "thumbs up"),
        ("locomotive", "railway car", "A steam locomotive.", "train", "The caboose—a carriage for the guard."),
        ("Some cherries.", "cherries", "A pair of cherries."),
        ("A bunch of grapes.", "grapes", "A cluster of grapes."),
        ("A “Fuji” apple.", "red apple", "An apple core.", "green apple"),
        ("new moon face", "full moon", "Our moon."),
        ("palm tree", "A Christmas tree.", "evergreen tree"),
    ],
)
def test_relatives_share_a_family(names: tuple[str, ...]) -> None:
    found = families(*names, "moon", "anvil")
    assert len({found[concept_key(name)] for name in names}) == 1
    assert found["anvil"] == "anvil"


def test_strangers_stay_apart() -> None:
    names = ["cat", "dog", "A clock.", "heart", "smiling face", "hand", "train", "A pear.", "A saw.", "man running"]
    assert len(set(families(*names).values())) == len(names)


def test_a_shared_picture_or_caption_unites() -> None:
    concepts = {
        "dove": Concept("dove", images={"1"}, captions={"Paloma."}),
        "pigeon-like": Concept("columbid", images={"2"}, captions={"paloma"}),
        "turned": Concept("widget", images={"1"}),
        "unnamed": Concept(None, images={"3"}, captions={"A dove!"}),
    }
    found = families_of(concepts)
    assert found["dove"] == found["pigeon-like"] == found["turned"]
    assert found["unnamed"] == "unnamed"


def test_a_keyword_unites_only_where_keywords_agree() -> None:
    sea = {"sea", "ship", "tool"}
    concepts = {
        "foggy": Concept("foggy", keywords={"fog", "cloud"}),
        "fog": Concept("fog", keywords={"fog", "cloud"}),
        "anchor": Concept("anchor", keywords=sea),
        "ship": Concept("ship", keywords={"boat", "passenger", "ship"}),
    }
    found = families_of(concepts)
    assert found["foggy"] == found["fog"]
    assert found["anchor"] != found["ship"]
    assert overlap({"a", "b"}, {"b", "c", "d"}) == 0.5
    assert overlap((), {"a"}) == 0


def test_names_do_not_depend_on_order() -> None:
    names = ["cat", "cat face", "A dog.", "dog face", "man running", "woman running"]
    assert families(*names) == families(*reversed(names))


@pytest.mark.parametrize(
    ("caption", "key"),
    [
        ("A cat.", "cat"),
        ("The Sun.", "sun"),
        ("A compact disc for music, movies, or data!", "compact disc for music, movies, or data"),
        ("A computer monitor. Do you see what I see?", "computer monitor"),
        ("Mars—the red planet.", "mars"),
        ("A baby sheep (a lamb).", "baby sheep"),
        ("A", "a"),
        ("...", "..."),
        ("St. Bernard dog. It helps.", "st. bernard dog"),
        ("The bacterium E. coli. A rod.", "bacterium e. coli"),
        ("Waitangi. A place.", "waitangi"),
    ],
)
def test_keys_of_captions(caption: str, key: str) -> None:
    assert caption_key(caption) == key
    assert concept_key(concept_name(caption)) == key


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("A Cat.", "cat"),
        ("E. coli", "e. coli"),
        ("St. Bernard", "st. bernard"),
        ("Crane (bird)", "crane (bird)"),
        ("No. 5. The scent", "no. 5. the scent"),
        ("“Cat’s  paw”!", "cat's paw"),
        ("cafe\u0301", "caf\u00e9"),
        ("A", "a"),
        ("...", "..."),
    ],
)
def test_keys_of_names(name: str, key: str) -> None:
    assert concept_key(name) == key


def test_names_with_abbreviations_are_families_of_their_own() -> None:
    names = ("E. coli", "E. faecalis", "St. Bernard", "St. Pancras", "Dr. Pepper", "Dr. Zoidberg")
    assert families(*names) == {concept_key(name): concept_key(name) for name in names}
    assert len(set(families("St. Bernard", "a St. Bernard").values())) == 1


def test_every_class_is_a_concept_of_its_own() -> None:
    names = ["Cardigan", "tench", "cardigan", "crane", "A Tench!", "crane", "crane (2)", "Dr. No", "crane"]
    expected = [
        "Cardigan",
        "tench",
        "cardigan",
        "crane",
        "A Tench!",
        "crane (2)",
        "crane (2) (2)",
        "dr. no",
        "crane (3)",
    ]
    assert class_concepts(names) == expected


def test_nouns() -> None:
    assert nouns("A pair of closed scissors.") == {"scissors"}
    assert nouns("fork and knife") == {"fork", "sword"}
    assert nouns("woman") == {"person"}
    assert nouns("???") == {"???"}
    assert [singular(word) for word in ("cherries", "boxes", "glass", "cats", "bus")] == [
        "cherry",
        "box",
        "glass",
        "cat",
        "bus",
    ]
