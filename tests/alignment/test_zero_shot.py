import numpy as np

from pipeline.alignment.zero_shot import class_vectors, classifier


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
