"""Uncertainty: percentile intervals, and a bootstrap of concept families, as pictures of one concept are correlated.

Families are drawn with replacement and all items of a family come along (cluster bootstrap; Field and Welsh 2007). A
statistic must follow from sums over families, so that all draws are a few matrix products.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Generic, TypeVar

import numpy as np

Interval = tuple[float, float]
Outcomes = TypeVar("Outcomes")
_QUANTILE: Final = "inverted_cdf"  # a percentile is one of the values, never a point between two


@dataclass(frozen=True)
class Comparison:
    """Two systems on the same items: first minus second, and first over second.

    An interval is None where there are fewer than two families, and the ratio where the second system scores zero; a
    ratio's interval is None when it is unbounded.
    """

    difference: float
    interval: Interval | None
    ratio: float | None
    ratio_interval: Interval | None

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval of the difference lies on one side of zero."""
        return self.interval is not None and (self.interval[0] > 0 or self.interval[1] < 0)


class ClusterBootstrap(ABC, Generic[Outcomes]):
    """Draws of families for one set of test items; every statistic on these items uses the same draws.

    `Outcomes` is what a system did on the items, in whatever form `value` and `draws` take.

    Attributes:
        names: (F,) str, the distinct families in sorted order.
        families: F.
        times: (draws, F) float64, how often each family was drawn.
    """

    def __init__(self, families: np.ndarray, draws: int, seed: int) -> None:
        """Draw.

        Args:
            families: (n,) the family of each item.
            draws: number of resamples.
            seed: of the draws; systems that share families and seed are resampled alike.
        """
        if len(families) == 0:
            raise ValueError("there are no test items to resample")
        self.names = np.unique(families.astype(str))
        self.families = len(self.names)
        self.times = family_draws(self.families, draws, seed)

    @abstractmethod
    def value(self, outcomes: Outcomes) -> float:
        """The statistic itself."""

    @abstractmethod
    def draws(self, outcomes: Outcomes) -> np.ndarray:
        """The statistic in every resample, (draws,) float64."""

    def interval(self, outcomes: Outcomes, level: float = 0.95) -> Interval | None:
        """Percentile interval of the statistic; None with fewer than two families, which show no spread."""
        return percentile_interval(self.draws(outcomes), level) if self.families > 1 else None

    def compare(self, first: Outcomes, second: Outcomes, level: float = 0.95) -> Comparison:
        """Paired comparison of two systems on these items.

        Args:
            first, second: outcomes of the two systems on the same items.
        """
        value, base = self.value(first), self.value(second)
        difference, ratio = value - base, value / base if base > 0 else None
        if self.families < 2:
            return Comparison(difference, None, ratio, None)
        drawn, drawn_base = self.draws(first), self.draws(second)
        ratios = np.divide(drawn, drawn_base, out=np.full_like(drawn, np.inf), where=drawn_base > 0)
        interval, ratio_interval = percentile_interval(drawn - drawn_base, level), percentile_interval(ratios, level)
        bounded = ratio is not None and np.isfinite(ratio_interval[1])
        return Comparison(difference, interval, ratio, ratio_interval if bounded else None)


class FamilyBootstrap(ClusterBootstrap[np.ndarray]):
    """The mean over groups of the mean of a group's items.

    One group gives the plain mean, one group per class the mean per-class accuracy.
    Outcomes are (n,) float, e.g. hits, item by item. Items of several repeats are pooled: a family that is tested in
    several repeats is one cluster.
    """

    def __init__(self, families: np.ndarray, draws: int, seed: int, groups: np.ndarray | None = None) -> None:
        """Draw.

        Args:
            families, draws, seed: as for `ClusterBootstrap`.
            groups: (n,) the group of each item, or None for a single group.
        """
        super().__init__(families, draws, seed)
        self._family = np.searchsorted(self.names, families.astype(str))
        group = np.zeros(len(families)) if groups is None else groups.astype(str)
        group_names, self._group = np.unique(group, return_inverse=True)
        self._shape = (self.families, len(group_names))
        self._drawn_counts = self.times @ self._per_family(np.ones(len(families)))

    def value(self, outcomes: np.ndarray) -> float:
        """See `ClusterBootstrap`."""
        counts = self._per_family(np.ones(len(outcomes))).sum(axis=0)
        return float((self._per_family(outcomes).sum(axis=0) / counts).mean())

    def draws(self, outcomes: np.ndarray) -> np.ndarray:
        """See `ClusterBootstrap`; groups that a resample misses do not count in it."""
        sums = self.times @ self._per_family(outcomes)
        present = self._drawn_counts > 0
        means = np.divide(sums, self._drawn_counts, out=np.zeros_like(sums), where=present)
        totals: np.ndarray = means.sum(axis=1) / present.sum(axis=1)
        return totals

    def _per_family(self, outcomes: np.ndarray) -> np.ndarray:
        """Sums by family and group, (F, G)."""
        flat = self._family * self._shape[1] + self._group
        return np.bincount(flat, weights=outcomes, minlength=self._shape[0] * self._shape[1]).reshape(self._shape)


class WeightedMeanBootstrap(ClusterBootstrap[np.ndarray]):
    """The weighted mean of all items; outcomes are (n,) float, item by item."""

    def __init__(self, families: np.ndarray, draws: int, seed: int, weights: np.ndarray) -> None:
        """Draw.

        Args:
            families, draws, seed: as for `ClusterBootstrap`.
            weights: (n,) of each item in the mean.
        """
        super().__init__(families, draws, seed)
        self._family, self._weights = np.searchsorted(self.names, families.astype(str)), weights
        self._mass = np.bincount(self._family, weights=weights)
        self._drawn_mass = self.times @ self._mass

    def value(self, outcomes: np.ndarray) -> float:
        """See `ClusterBootstrap`."""
        return float(self._totals(outcomes).sum() / self._mass.sum())

    def draws(self, outcomes: np.ndarray) -> np.ndarray:
        """See `ClusterBootstrap`."""
        means: np.ndarray = (self.times @ self._totals(outcomes)) / self._drawn_mass
        return means

    def _totals(self, outcomes: np.ndarray) -> np.ndarray:
        return np.bincount(self._family, weights=outcomes * self._weights, minlength=self.families)


@lru_cache(maxsize=16)
def family_draws(families: int, draws: int, seed: int) -> np.ndarray:
    """How often each family was drawn, (draws, F) float64; not to be written to, as later calls get the same array."""
    probabilities = np.full(families, 1 / families)
    times = np.random.default_rng(seed).multinomial(families, probabilities, size=draws).astype(np.float64)
    times.flags.writeable = False
    return times


def spread(values: Sequence[float] | np.ndarray) -> float | None:
    """Standard deviation over repeats (n - 1); None for a single one."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def percentile(values: np.ndarray, level: float) -> float:
    """The least of the values (n,) that a share `level` of them does not exceed."""
    return float(np.quantile(values, level, method=_QUANTILE))


def percentile_interval(draws: np.ndarray, level: float = 0.95) -> Interval:
    """The percentiles that leave a share `level` of the draws (n,) between them, and equal shares on either side."""
    tail = (1 - level) / 2
    low, high = np.quantile(draws, [tail, 1 - tail], method=_QUANTILE)
    return float(low), float(high)
