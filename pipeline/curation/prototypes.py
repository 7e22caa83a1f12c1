"""Few-shot concept prototypes (Maniparambil et al., CVPR 2025): one unit vector per concept."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.curation.pool import Pool, UnitFeatures


@dataclass(frozen=True)
class Concept:
    """A label value to retrieve for, e.g. ("stamps", "category", "animals")."""

    dataset: str
    label: str
    value: str

    @property
    def name(self) -> str:
        """Its name in tables."""
        return f"{self.dataset}/{self.label}/{self.value}"


def concepts_of(pool: Pool, labels: Sequence[tuple[str, str]]) -> list[Concept]:
    """Every value of the given (data set, label) among the images of the pool, sorted."""
    concepts = set()
    for dataset, label in labels:
        column = pool.labels[label]
        codes = np.unique(column.codes[pool.dataset == dataset])
        concepts |= {Concept(dataset, label, value) for value in column.values.take(codes[codes >= 0])}
    return sorted(concepts, key=lambda concept: concept.name)


def carriers(pool: Pool, concept: Concept) -> np.ndarray:
    """Rows (n,) int64 of the pool whose label is this concept."""
    inside = (pool.dataset == concept.dataset) & (pool.labels[concept.label] == concept.value)
    return np.flatnonzero(inside)


def prototypes(
    pool: Pool, features: np.ndarray | UnitFeatures, concepts: Sequence[Concept], shots: int, seed: int
) -> np.ndarray:
    """Mean of the unit features of up to `shots` labelled images per concept, brought back to unit length.

    Args:
        features: (N, D) float32 unit vectors, row by row those of the pool.
        seed: of the hash order in which the shots are taken.

    Returns:
        (C, D) float32.
    """
    means = np.empty((len(concepts), features.shape[1]), dtype=np.float32)
    for row, concept in enumerate(concepts):
        rows = carriers(pool, concept)
        chosen = pool.in_hash_order(rows, seed)[:shots]
        mean = features[chosen].mean(axis=0, dtype=np.float64)
        means[row] = mean / max(float(np.linalg.norm(mean)), 1e-12)
    return means
