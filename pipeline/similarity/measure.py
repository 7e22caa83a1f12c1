"""All similarities of all candidates on the samples of one repeat, and their nulls.

Shapes: I image spaces, T text spaces, n samples, P permutations, k neighbours.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.config import CompareSpec
from pipeline.errors import DataError
from pipeline.similarity.candidates import Candidates
from pipeline.similarity.cka import linear_cka, unbiased_linear_cka
from pipeline.similarity.hsic import MIN_SAMPLES
from pipeline.similarity.neighbours import neighbour_weights, overlap
from pipeline.similarity.null import cka_null, knn_null
from pipeline.similarity.permutation import exchange_families
from pipeline.similarity.spaces import check_space


@dataclass(frozen=True)
class RepeatMeasures:
    """The measures of one repeat.

    Attributes:
        rows: (n,) int64, the samples.
        cka, cka_biased: (I, T).
        overlaps: (I, T, n), the share of common neighbours of each sample; their mean is mutual-kNN.
        cka_null, knn_null: (P, I, T).
    """

    rows: np.ndarray
    cka: np.ndarray
    cka_biased: np.ndarray
    overlaps: np.ndarray
    cka_null: np.ndarray
    knn_null: np.ndarray

    @property
    def mutual_knn(self) -> np.ndarray:
        """(I, T)."""
        return np.asarray(self.overlaps.mean(axis=2))


def measure_repeat(candidates: Candidates, repeat: int, params: CompareSpec, seed: int) -> RepeatMeasures:
    """Measure every pair of candidates on the train and validation samples of one repeat.

    Large families are thinned so that families can be exchanged (`pipeline.similarity.permutation`).

    Args:
        seed: of the permutations.

    Raises:
        DataError: there are too few samples for the neighbours asked for, or a space is constant or not finite.
    """
    samples, k = candidates.samples, params.neighbours
    rows = samples.outside_test(repeat)
    exchange = exchange_families(samples.family[rows], samples.dataset[rows])
    rows = rows[exchange.rows]
    if len(rows) <= max(k, MIN_SAMPLES - 1):
        raise DataError(
            f"Repeat {repeat} leaves {len(rows)} images with captions of their own outside the test split; "
            f"compare.neighbours: {k} needs at least {max(k + 1, MIN_SAMPLES)}. Lower it in params.yaml, or add data."
        )
    images = [image.features[rows] for image in candidates.images]
    texts = [text.features[rows] for text in candidates.texts]
    names = [space.name for space in candidates.images] + [space.name for space in candidates.texts]
    for name, features in zip(names, [*images, *texts], strict=True):
        check_space(features, f"the space {name}")
    near = [[neighbour_weights(features, k) for features in side] for side in (images, texts)]
    orders = exchange.orders(params.permutations, seed)
    return RepeatMeasures(
        rows=rows,
        cka=np.array([[unbiased_linear_cka(image, text) for text in texts] for image in images]),
        cka_biased=np.array([[linear_cka(image, text) for text in texts] for image in images]),
        overlaps=np.array([[overlap(image, text, k) for text in near[1]] for image in near[0]]),
        cka_null=cka_null(images, texts, orders),
        knn_null=knn_null(near[0], near[1], k, orders),
    )
