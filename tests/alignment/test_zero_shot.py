import numpy as np
import pytest

from pipeline.alignment.zero_shot import class_vectors, classifier
from pipeline.errors import DataError


def test_a_class_is_the_mean_of_its_unit_prompts_brought_to_unit_length() -> None:
    texts = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]], dtype=np.float32)
    found = class_vectors(texts, np.array([0, 0, 1]))
    np.testing.assert_allclose(found, [[np.sqrt(0.5), np.sqrt(0.5)], [0.0, -1.0]], atol=1e-7)
    assert found.dtype == np.float32


def test_the_mean_may_be_left_as_it_is() -> None:
    texts = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]], dtype=np.float32)
    np.testing.assert_allclose(class_vectors(texts, np.array([0, 0, 1]), "mean"), [[0.5, 0.5], [0.0, -1.0]])


def test_many_classes_are_averaged_as_few_are() -> None:
    texts = np.random.default_rng(0).normal(size=(5000, 3)).astype(np.float32)
    classes = np.random.default_rng(1).permutation(np.repeat(np.arange(50), 100))
    expected = np.stack([texts[classes == number].astype(np.float64).mean(axis=0) for number in range(50)])
    np.testing.assert_allclose(class_vectors(texts, classes, "mean"), expected, atol=1e-7)


def test_a_classifier_embeds_the_texts_class_by_class() -> None:
    vectors = {"a": [1.0, 0.0], "b": [0.0, 1.0], "c": [0.0, -1.0]}
    found = classifier([["a", "b"], ["c"]], lambda texts: np.array([vectors[text] for text in texts]))
    np.testing.assert_allclose(found, [[np.sqrt(0.5), np.sqrt(0.5)], [0.0, -1.0]], atol=1e-7)


VECTORS = {"hot": [1.0, 0.0], "cold": [-1.0, 1e-9], "warm": [0.6, 0.8], "lost": [np.nan, 0.0]}


def embed(texts: list[str]) -> np.ndarray:
    return np.array([VECTORS[text] for text in texts])


def test_prompts_that_cancel_each_other_are_refused_by_name() -> None:
    with pytest.raises(DataError, match=r"Class 2 of 2: .*its 2 texts \('hot', 'cold'\) cancel each other"):
        classifier([["warm"], ["hot", "cold"]], embed)
    with pytest.raises(DataError, match=r"Class 1 of 1: .*its 2 texts cancel each other"):
        class_vectors(embed(["hot", "cold"]), np.array([0, 0]))


def test_the_mean_of_prompts_that_cancel_each_other_is_left() -> None:
    found = classifier([["warm"], ["hot", "cold"]], embed, "mean")
    np.testing.assert_allclose(found, [[0.6, 0.8], [0.0, 0.0]], atol=1e-7)


@pytest.mark.parametrize("kind", ["unit", "mean"])
def test_prompts_without_a_finite_vector_are_refused(kind: str) -> None:
    with pytest.raises(DataError, match=r"its 1 texts \('lost'\) are not finite"):
        classifier([["lost"], ["hot"]], embed, kind)
