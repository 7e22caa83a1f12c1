"""Captions by concept, as the task multilingual takes them, against dictionaries of sets."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.coded import Coded
from pipeline.datasets.caption_pairs import CaptionPairs
from pipeline.evaluation.concept_captions import ConceptCaptions
from pipeline.evaluation.zero_shot import LabelledImages

IMAGES = [f"{number:032x}" for number in range(8)]
CONCEPTS = ["cup", "cup", "dog", "egg", "egg", "fan", "gem", "gem"]
TEXTS = [f"{number * 7919:032x}" for number in range(12)]


def labelled(tested: np.ndarray) -> LabelledImages:
    column = Coded.of(CONCEPTS)
    return LabelledImages(Coded.of(IMAGES), column, column, Coded.of(["test"] * 8)[:, None], tested.any(axis=1))


def pairs(named: list[tuple[int, int]]) -> CaptionPairs:
    images = Coded.of([*(IMAGES[image] for image, _ in named), "f" * 32])  # the last of no labelled image
    texts = Coded.of([*(TEXTS[text] for _, text in named), TEXTS[0]])
    some = Coded.of(["mine"] * len(images))
    return CaptionPairs(some, images, texts, some, some, some[:, None])


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.tuples(st.integers(0, 7), st.integers(0, 11)), max_size=40),
    st.lists(st.booleans(), min_size=8, max_size=8),
    st.integers(1, 4),
)
def test_they_are_those_of_tested_concepts_the_first_by_id(
    named: list[tuple[int, int]], tested: list[bool], most: int
) -> None:
    expected: dict[str, set[str]] = defaultdict(set)
    wanted = {concept for concept, is_tested in zip(CONCEPTS, tested, strict=True) if is_tested}
    for image, text in named:
        if CONCEPTS[image] in wanted:
            expected[CONCEPTS[image]].add(TEXTS[text])
    mask = np.array(tested)[:, None]
    captions = ConceptCaptions(labelled(mask), mask)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.evaluation.concept_captions.MOST_CAPTIONS", most)
        found, cut = captions.of(pairs(named))
    assert found == {concept: tuple(sorted(texts)[:most]) for concept, texts in expected.items()}
    assert cut == sum(len(texts) > most for texts in expected.values())
    assert captions.tested_concepts() == {
        image: concept for image, concept, one in zip(IMAGES, CONCEPTS, tested, strict=True) if one
    }
