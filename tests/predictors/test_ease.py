"""Closed forms against plain linear algebra and scikit-learn, recall by hand."""

import numpy as np
import pytest
import scipy.linalg
from sklearn.kernel_ridge import KernelRidge

from pipeline.predictors.ease import both, cca_maps, held_out, kernel_maps, recall

GENERATOR = np.random.default_rng(0)
LATENT = GENERATOR.normal(size=(90, 4))
X = (LATENT @ GENERATOR.normal(size=(4, 7)) + 0.3 * GENERATOR.normal(size=(90, 7))).astype(np.float32)
Y = (LATENT @ GENERATOR.normal(size=(4, 5)) + 0.3 * GENERATOR.normal(size=(90, 5))).astype(np.float32)
TRAIN, TEST = slice(0, 60), slice(60, 90)


def cosine(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    first, second = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (first, second))
    return np.asarray(first @ second.T)


def test_cca_is_that_of_plain_linear_algebra() -> None:
    x, y = X[TRAIN].astype(np.float64), Y[TRAIN].astype(np.float64)
    whites = []
    for side in (x, y):
        covariance = np.cov(side.T, bias=True)
        lifted = covariance + 0.5 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
        whites.append(scipy.linalg.inv(scipy.linalg.sqrtm(lifted)).real)
    across = (x - x.mean(0)).T @ (y - y.mean(0)) / len(x)
    left, _, right = np.linalg.svd(whites[0] @ across @ whites[1], full_matrices=False)
    expected = cosine((X[TEST] - x.mean(0)) @ whites[0] @ left, (Y[TEST] - y.mean(0)) @ whites[1] @ right.T)
    image, text = cca_maps(X[TRAIN], Y[TRAIN], 0.5)
    np.testing.assert_allclose(image(X[TEST]) @ text(Y[TEST]).T, expected, atol=1e-4)


def test_kernel_ridge_is_that_of_scikit_learn() -> None:
    x, y = X[TRAIN] - X[TRAIN].mean(0), Y[TRAIN] - Y[TRAIN].mean(0)
    gamma = 1 / (2 * X[TRAIN].var(0, ddof=1).sum())
    theirs = KernelRidge(alpha=0.3, kernel="rbf", gamma=gamma).fit(x, y)
    expected = cosine(theirs.predict(X[TEST] - X[TRAIN].mean(0)), Y[TEST] - Y[TRAIN].mean(0))
    image, text = kernel_maps(X[TRAIN], Y[TRAIN], 0.3)
    np.testing.assert_allclose(image(X[TEST]) @ text(Y[TEST]).T, expected, atol=1e-4)


def test_cosines_of_two_forms_are_averaged() -> None:
    forms = cca_maps(X[TRAIN], Y[TRAIN], 1.0), kernel_maps(X[TRAIN], Y[TRAIN], 0.3)
    scores = [image(X[TEST]) @ text(Y[TEST]).T for image, text in (*forms, both(*forms))]
    np.testing.assert_allclose(scores[2], (scores[0] + scores[1]) / 2, atol=1e-5)


def test_images_with_one_caption_share_a_candidate() -> None:
    """Three images, two captions: image 1 has the caption of image 0 and lies nearest to it, image 2 goes astray."""
    held = held_out(np.array([4, 7, 9]), [("a",), ("a",), ("b",)])
    assert held.caption.tolist() == [0, 0, 1]
    image = np.eye(3)[[0, 0, 0]]
    text = np.eye(3)[[0, 0, 1]]
    found = recall(image, text, held)
    # images: right, right, wrong; captions: "a" ties with the image of "b" and loses, "b" ties with all and loses
    assert found.at_1 == pytest.approx((2 / 3 + 0) / 2)
    assert found.at_10 == 1
    assert found.chance_at_10 == 1


def test_planted_pairs_are_found_and_shuffled_ones_are_not() -> None:
    held = held_out(np.arange(60, 90), [(str(row),) for row in range(30)])
    image, text = cca_maps(X[TRAIN], Y[TRAIN], 0.1)
    good = recall(image(X[TEST]), text(Y[TEST]), held)
    image, text = cca_maps(X[TRAIN], np.roll(Y[TRAIN], 7, axis=0), 0.1)
    bad = recall(image(X[TEST]), text(Y[TEST]), held)
    assert good.at_10 > 0.85 > 0.6 > bad.at_10
    assert good.chance_at_10 == pytest.approx(1 / 3)
