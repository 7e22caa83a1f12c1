"""All similarities of all candidates on the samples of one repeat, and their nulls.

Shapes: I image spaces, T text spaces, n samples, P permutations, k neighbours.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.config import CompareSpec
from pipeline.errors import DataError
from pipeline.similarity.candidates import Candidates
from pipeline.similarity.cka import MIN_SAMPLES, double_centred, gram, u_centred, unit
from pipeline.similarity.neighbours import membership, nearest, overlap
from pipeline.similarity.null import cka_null, knn_null, permutations


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

    Args:
        seed: of the permutations.

    Raises:
        DataError: there are too few samples for the neighbours asked for.
    """
    rows = candidates.samples.outside_test(repeat)
    k = params.neighbours
    if len(rows) <= max(k, MIN_SAMPLES - 1):
        raise DataError(
            f"Repeat {repeat} leaves {len(rows)} images with captions of their own outside the test split; "
            f"compare.neighbours: {k} needs at least {max(k + 1, MIN_SAMPLES)}. Lower it in params.yaml, or add data."
        )
    spaces = [[image.features for image in candidates.images], [text.features for text in candidates.texts]]
    grams = [[gram(features[rows]) for features in side] for side in spaces]
    biased = [[unit(double_centred(matrix)).astype(np.float32) for matrix in side] for side in grams]
    images, texts = ([unit(u_centred(matrix)).astype(np.float32) for matrix in side] for side in grams)
    near = [[nearest(features[rows], k) for features in side] for side in spaces]
    orders = permutations(len(rows), params.permutations, seed)
    return RepeatMeasures(
        rows=rows,
        cka=_products(images, texts),
        cka_biased=_products(*biased),
        overlaps=np.array([[overlap(image, text) for text in near[1]] for image in near[0]]),
        cka_null=cka_null(images, texts, orders),
        knn_null=knn_null([membership(image) for image in near[0]], near[1], orders),
    )


def _products(images: list[np.ndarray], texts: list[np.ndarray]) -> np.ndarray:
    """Inner products of matrices, summed in float64: (I, T)."""
    wide = [text.ravel().astype(np.float64) for text in texts]
    return np.array([[float(image.ravel().astype(np.float64) @ text) for text in wide] for image in images])
