"""How well two spaces align: the default's closed form on the train split, retrieval on held-out families.

Shapes: n rows, X and Y the widths of image and text vectors, K the width of the shared space.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.alignment.closed_form.kernel import gamma_of, kernel_ridge
from pipeline.alignment.closed_form.linear import cca
from pipeline.alignment.closed_form.moments import MomentSums
from pipeline.alignment.heads.fitted import RBF
from pipeline.evaluation.metrics import chance_at, first_hit_ranks, hits_at, positive_counts

Map = Callable[[np.ndarray], np.ndarray]  # (n, X) or (n, Y) -> (n, K) unit vectors


@dataclass(frozen=True)
class Recall:
    """Mean of both directions; `chance` of a random order."""

    at_1: float
    at_10: float
    chance_at_10: float


@dataclass(frozen=True)
class Held:
    """Held-out rows of one data set: their numbers, and that of the caption of each; equal captions share one."""

    rows: np.ndarray
    caption: np.ndarray


def held_out(rows: np.ndarray, captions: Sequence[tuple[str, ...]]) -> Held:
    """`captions` are those of each of the rows."""
    number = {text: place for place, text in enumerate(dict.fromkeys(captions))}
    return Held(rows, np.array([number[text] for text in captions], dtype=np.int64))


def recall(image: np.ndarray, text: np.ndarray, held: Held) -> Recall:
    """Recall@1 and @10 of unit vectors (n, K) of the held-out rows, images and distinct captions against each other."""
    first = np.unique(held.caption, return_index=True)[1]
    images = np.arange(len(held.caption))
    sides = (
        (image, text[first], np.stack([images, held.caption], axis=1)),
        (text[first], image, np.stack([held.caption, images], axis=1)),
    )
    figures = []
    for queries, candidates, positives in sides:
        ranks = first_hit_ranks(queries, candidates, positives)
        chance = chance_at(positive_counts(positives, len(queries)), len(candidates), 10)
        figures.append((hits_at(ranks, 1).mean(), hits_at(ranks, 10).mean(), chance.mean()))
    return Recall(*(float(value) for value in np.mean(figures, axis=0)))


def cca_maps(x_nX: np.ndarray, y_nY: np.ndarray, shrink: float) -> tuple[Map, Map]:
    """Regularised CCA of paired rows, as the closed form `cca`."""
    x, y = (torch.from_numpy(np.asarray(side, dtype=np.float32)) for side in (x_nX, y_nY))
    sums = MomentSums()
    sums.add(x, y)
    moments = sums.moments()
    first, second = (matrix.float() for matrix in cca(moments, shrink, 0.0))
    return _linear(moments.mean_x.float(), first), _linear(moments.mean_y.float(), second)


def kernel_maps(x_nX: np.ndarray, y_nY: np.ndarray, ridge: float) -> tuple[Map, Map]:
    """Kernel ridge regression of texts on images, as the closed form `kernel-ridge`: texts are centred alone."""
    x, y = (torch.from_numpy(np.asarray(side, dtype=np.float32)) for side in (x_nX, y_nY))
    mean_x, mean_y = x.mean(0), y.mean(0)
    x = x - mean_x
    kernel = RBF(x, gamma_of(x.var(0), 1.0))
    solved = kernel_ridge(kernel(x), y - mean_y, ridge, torch.ones(len(x), dtype=torch.float64)).float()
    return lambda rows: _unit(kernel(torch.from_numpy(rows) - mean_x) @ solved), _linear(mean_y, None)


def both(first: tuple[Map, Map], second: tuple[Map, Map]) -> tuple[Map, Map]:
    """Maps whose cosines are the mean of the two."""
    image, text = (
        lambda rows, one=one, other=other: np.concatenate([one(rows), other(rows)], axis=1) / np.sqrt(2)
        for one, other in zip(first, second, strict=True)
    )
    return image, text


def _linear(mean: Tensor, matrix: Tensor | None) -> Map:
    def apply(rows: np.ndarray) -> np.ndarray:
        centred = torch.from_numpy(rows) - mean
        return _unit(centred if matrix is None else centred @ matrix)

    return apply


def _unit(rows: Tensor) -> np.ndarray:
    return np.asarray(F.normalize(rows, dim=1).numpy())
