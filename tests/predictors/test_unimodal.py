"""Scores of encoders by themselves against scikit-learn, and by hand."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import balanced_accuracy_score, ndcg_score
from sklearn.neighbors import KNeighborsClassifier

from pipeline.predictors.image_scores import PENALTY, knn_accuracy, linear_accuracy
from pipeline.predictors.text_scores import TextTask, group_means, search_score, similarity_score
from pipeline.similarity.spaces import unit_rows

GENERATOR = np.random.default_rng(0)
CLASSES = GENERATOR.integers(0, 4, size=120)
FEATURES = (GENERATOR.normal(size=(4, 9))[CLASSES] + GENERATOR.normal(size=(120, 9))).astype(np.float32)
FIT, ASKED = slice(0, 80), slice(80, 120)


def test_knn_is_that_of_scikit_learn() -> None:
    theirs = KNeighborsClassifier(5, metric="cosine", algorithm="brute", weights=lambda distance: 1 - distance)
    theirs.fit(FEATURES[FIT], CLASSES[FIT])
    expected = balanced_accuracy_score(CLASSES[ASKED], theirs.predict(FEATURES[ASKED]))
    assert knn_accuracy(FEATURES[FIT], CLASSES[FIT], FEATURES[ASKED], CLASSES[ASKED], 5) == pytest.approx(expected)


def test_the_linear_probe_is_ridge_regression_onto_one_hot_classes() -> None:
    mean, deviation = FEATURES[FIT].mean(0), FEATURES[FIT].std(0)
    fit, asked = ((FEATURES[part] - mean) / deviation for part in (FIT, ASKED))
    theirs = Ridge(alpha=PENALTY * len(fit)).fit(fit, np.eye(4)[CLASSES[FIT]])
    expected = balanced_accuracy_score(CLASSES[ASKED], theirs.predict(asked).argmax(1))
    assert linear_accuracy(FEATURES[FIT], CLASSES[FIT], FEATURES[ASKED], CLASSES[ASKED]) == pytest.approx(expected)


def test_constant_features_put_every_picture_into_one_class() -> None:
    constant = np.ones((120, 3), np.float32)
    assert linear_accuracy(constant[FIT], CLASSES[FIT], constant[ASKED], CLASSES[ASKED]) == pytest.approx(1 / 4)


def test_search_is_scikit_learns_ndcg() -> None:
    queries, documents = (unit_rows(GENERATOR.normal(size=(size, 6))) for size in (30, 40))
    right = np.stack([np.arange(30), GENERATOR.integers(0, 40, size=30)], axis=1)
    relevant = np.zeros((30, 40))
    relevant[right[:, 0], right[:, 1]] = 1
    expected = ndcg_score(relevant, queries @ documents.T, k=10)
    assert search_score(queries, documents, right) == pytest.approx(expected)


def test_similarity_is_a_rank_correlation_and_nothing_for_constant_cosines() -> None:
    assert similarity_score(np.array([0.1, 0.5, 0.7]), np.array([0.0, 0.2, 0.9])) == pytest.approx(1)
    assert similarity_score(np.array([0.1, 0.5, 0.3]), np.array([0.0, 0.2, 0.9])) == pytest.approx(0.5)
    assert similarity_score(np.ones(3), np.array([0.0, 0.2, 0.9])) == 0


def task(name: str, kind: str) -> TextTask:
    return TextTask(name, kind, np.array(["a"]), np.array(["b"]), np.ones(1))


def test_tasks_are_averaged_by_kind_and_a_missing_score_is_not_a_zero() -> None:
    tasks = [task("one", "similarity"), task("two", "similarity"), task("translation search", "search")]
    assert group_means({"one": 0.2, "two": 0.4, "translation search": None}, tasks) == {
        "text_similarity": pytest.approx(0.3),
        "text_search": None,
        "text_translation": None,
    }
