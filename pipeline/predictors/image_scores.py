"""Scores of an image encoder by itself: k-nearest neighbours and a linear probe on the categories of the pictures.

Shapes: n rows to fit, m rows to score, D the width, C classes.
"""

import numpy as np
import torch

from pipeline.alignment.closed_form.linear import solve_lifted
from pipeline.alignment.closed_form.moments import MomentSums
from pipeline.similarity.spaces import unit_rows

PENALTY = 0.1  # of the probe, where a standardised feature has a variance of 1


def knn_accuracy(
    train_nD: np.ndarray, classes_n: np.ndarray, test_mD: np.ndarray, answers_m: np.ndarray, k: int
) -> float:
    """Mean accuracy per class of the vote of the k nearest by cosine, each with its cosine as weight.

    Args:
        classes_n, answers_m: int64 from 0.
    """
    cosine = unit_rows(test_mD) @ unit_rows(train_nD).T
    near = np.argsort(-cosine, axis=1, kind="stable")[:, :k]
    votes = np.zeros((len(test_mD), int(max(classes_n.max(), answers_m.max())) + 1))
    np.add.at(votes, (np.arange(len(votes))[:, None], classes_n[near]), np.take_along_axis(cosine, near, axis=1))
    return mean_per_class(votes.argmax(axis=1) == answers_m, answers_m)


def linear_accuracy(train_nD: np.ndarray, classes_n: np.ndarray, test_mD: np.ndarray, answers_m: np.ndarray) -> float:
    """Mean accuracy per class of a linear probe: ridge regression onto one-hot classes, on standardised features."""
    mean, deviation = train_nD.mean(axis=0), train_nD.std(axis=0)
    deviation = np.where(deviation > 0, deviation, 1.0)
    train, test = (torch.from_numpy(((side - mean) / deviation).astype(np.float32)) for side in (train_nD, test_mD))
    targets = torch.eye(int(max(classes_n.max(), answers_m.max())) + 1)[torch.from_numpy(classes_n)]
    sums = MomentSums()
    sums.add(train, targets)
    moments = sums.moments()
    weight = solve_lifted(moments.cov_xx, moments.cov_xy, PENALTY)
    scores = (test.double() - moments.mean_x) @ weight + moments.mean_y
    return mean_per_class(scores.argmax(dim=1).numpy() == answers_m, answers_m)


def mean_per_class(right_m: np.ndarray, answers_m: np.ndarray) -> float:
    """Accuracy of each class that occurs, averaged over classes."""
    counts = np.bincount(answers_m)
    return float((np.bincount(answers_m, weights=right_m)[counts > 0] / counts[counts > 0]).mean())
