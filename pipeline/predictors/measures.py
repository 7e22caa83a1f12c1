"""Similarities of two spaces before alignment, from what is computed of each of them once.

Shapes: n samples, D the width of a space, k neighbours.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.similarity.cka import linear_cka, unbiased_linear_cka
from pipeline.similarity.neighbours import nearest, overlap

MEASURES = ("cka", "cka_biased", "mutual_knn")


@dataclass(frozen=True)
class Side:
    """Features (n, D) of one space, and the nearest neighbours (n, k) of each sample in it."""

    features: np.ndarray
    near: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray, k: int) -> "Side":
        """Neighbours by cosine; `features` have more than k rows."""
        return cls(features, nearest(features, k))


def measures(first: Side, second: Side) -> dict[str, float]:
    """Unbiased and biased linear CKA, and mutual-kNN."""
    return {
        "cka": unbiased_linear_cka(first.features, second.features),
        "cka_biased": linear_cka(first.features, second.features),
        "mutual_knn": float(overlap(first.near, second.near).mean()),
    }
