"""A measure put on the scale of its own null (Gröger, Wen and Brbic 2026, "An Aristotelian view", algorithms 1, 2).

Similarities have chance levels that depend on widths, on the number of samples and on what the samples are. Texts are
reordered; the threshold is the 95th percentile of the values together with the observed one, and the calibrated score
is how far the observed value stands above it on the way to 1, else 0. Where the best of several layers is reported, the
null is that of the best: every layer sees the same permutations, and the maximum is taken under each.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.similarity.registry import Measure

LEVEL = 0.95


@dataclass(frozen=True)
class Calibrated:
    """A value beside its null: the value, its p-value, the threshold, and the calibrated score in [0, 1]."""

    value: float
    p: float
    threshold: float
    score: float


def calibrate(x_ND: np.ndarray, y_NE: np.ndarray, measure: Measure, orders_PN: np.ndarray) -> Calibrated:
    """Calibrate one pair of spaces.

    Args:
        orders_PN: (P, N) int64 of `permutations`, or of `Exchange.orders` for the rows that it kept.

    Raises:
        DataError: as the measure does.
    """
    return calibrate_best([x_ND], [y_NE], measure, orders_PN)


def calibrate_best(
    xs: Sequence[np.ndarray], ys: Sequence[np.ndarray], measure: Measure, orders_PN: np.ndarray
) -> Calibrated:
    """Calibrate the largest value over all pairs of layers. Costs P + 1 times the measure of all pairs.

    Args:
        xs, ys: layers, each (N, width).
        orders_PN: as for `calibrate`.

    Raises:
        DataError: as the measure does.
    """
    null = np.array([max(measure(x, y[order]) for x in xs for y in ys) for order in orders_PN])
    return against_null(max(measure(x, y) for x in xs for y in ys), null)


def against_null(value: float, null_P: np.ndarray) -> Calibrated:
    """A value beside the values (P,) that permutations give."""
    bound = threshold(value, null_P)
    return Calibrated(value, p_value(value, null_P), bound, calibrated(value, bound))


def p_value(value: float, null_P: np.ndarray) -> float:
    """Share of the null that is at least as large, counting the value itself: (1 + count) / (1 + P)."""
    return float((1 + (null_P >= value).sum()) / (1 + len(null_P)))


def threshold(value: float, null_P: np.ndarray) -> float:
    """The 95th percentile of null and value together; the value exceeds it only where its p-value is at most .05."""
    together = np.sort(np.append(null_P, value))
    return float(together[math.ceil(LEVEL * len(together) - 1e-9) - 1])


def calibrated(value: float, bound: float) -> float:
    """How far the value stands above the threshold of its null, as a share of the way from there to 1; else 0."""
    return max(0.0, (value - bound) / (1 - bound)) if bound < 1 else 0.0
