"""Uncertainty: percentile intervals, and a bootstrap of concept families and of repeats.

Pictures of one concept are correlated: families are drawn with replacement and all items of a family come along
(cluster bootstrap; Field and Welsh 2007). A statistic must follow from sums over families, so that all draws are a few
matrix products.

A repeat has an effect of its own, that of its split and initialisation, on all of its items. A handful of repeats
cannot be resampled as families are, as so few draws are too alike, so their level is estimated: the variance between
repeats beyond what their families explain, by the method of moments. Where it shows, draws of families are shifted by
normal draws of that variance, and all of them spread as Student's t, with Satterthwaite's (1946) degrees of freedom,
as a variance from few repeats is uncertain. Where it does not, or there are fewer than three repeats, families alone
are drawn. `benchmarks/coverage.py` simulates how often intervals then hold the true value.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Generic, TypeVar

import numpy as np
from scipy.special import stdtr

Interval = tuple[float, float]
Outcomes = TypeVar("Outcomes")
_QUANTILE: Final = "inverted_cdf"  # a percentile is one of the values, never a point between two
_EXCESS: Final = 1.1  # between repeats, over what their families explain: up to it, no effect of repeats is assumed
_FEWEST: Final = 3  # repeats that say anything on their variance
_FEW: Final = 10_000_000  # numbers of draws that are kept for several kinds of test items
_DRAWN_TOGETHER: Final = 64
REPEAT_DRAWS: Final = 200  # draws that the variance between repeats is estimated from


@dataclass(frozen=True)
class Repeats:
    """A statistic repeat by repeat.

    Attributes:
        values: (R,) float64.
        draws: (K, R) float64, the first K draws of families; NaN where a draw has none of a repeat.
        shares: (R,) float64 that sum to 1, the weight of each repeat in the statistic of all.
    """

    values: np.ndarray
    draws: np.ndarray
    shares: np.ndarray

    def minus(self, other: "Repeats", scale: float = 1.0) -> "Repeats":
        """The difference from `scale` times another statistic of the same repeats."""
        return Repeats(self.values - scale * other.values, self.draws - scale * other.draws, self.shares)

    def over(self, value: float) -> "Repeats":
        """The statistic divided by a constant."""
        return Repeats(self.values / value, self.draws / value, self.shares)

    def variances(self) -> tuple[float, float]:
        """Between repeats: the variance (n - 1), and what is expected of it if repeats differ in families alone."""
        deviations = self.draws - self.values
        known = deviations[np.isfinite(deviations).all(axis=1)]
        expected = float(known.var(axis=1, ddof=1).mean()) if len(known) else np.inf
        return float(self.values.var(ddof=1)), expected


@dataclass(frozen=True)
class Sample:
    """A statistic and its resamples.

    Attributes:
        draws: (draws,) float64, families resampled.
        repeats: None where it is not told apart by repeat, or there is but one.
    """

    value: float
    draws: np.ndarray
    repeats: Repeats | None = None


@dataclass(frozen=True)
class Comparison:
    """Two systems on the same items: first minus second, and first over second.

    An interval is None where there are fewer than two families, and the ratio where the second system scores zero; a
    ratio's interval is None when it is unbounded. `p` is two-sided, of no difference: the difference over its bootstrap
    standard error under Student's t, as counting 2,000 draws cannot tell p below 0.001, which a correction for many
    comparisons needs.
    """

    difference: float
    interval: Interval | None
    ratio: float | None
    ratio_interval: Interval | None
    p: float | None = None

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
        self._seed = seed

    @abstractmethod
    def value(self, outcomes: Outcomes) -> float:
        """The statistic itself."""

    @abstractmethod
    def draws(self, outcomes: Outcomes) -> np.ndarray:
        """The statistic in every resample, (draws,) float64."""

    def repeats(self, outcomes: Outcomes) -> Repeats | None:  # noqa: ARG002
        """The statistic repeat by repeat; None where the outcomes do not say which repeat they are of."""
        return None

    def sample(self, outcomes: Outcomes) -> Sample:
        """The statistic and its resamples, to be compared with other ones of the same draws."""
        return Sample(self.value(outcomes), self.draws(outcomes), self.repeats(outcomes))

    def interval(self, outcomes: Outcomes | Sample, level: float = 0.95) -> Interval | None:
        """Percentile interval of the statistic; None with fewer than two families, which show no spread."""
        if self.families < 2:
            return None
        sample = self._sample_of(outcomes)
        return percentile_interval(self._spread(sample).draws, level)

    def compare(self, first: Outcomes | Sample, second: Outcomes | Sample, level: float = 0.95) -> Comparison:
        """Paired comparison of two systems on these items.

        Args:
            first, second: outcomes of the two systems on the same items, or their samples.
        """
        one, two = self._sample_of(first), self._sample_of(second)
        difference, ratio = one.value - two.value, one.value / two.value if two.value > 0 else None
        if self.families < 2:
            return Comparison(difference, None, ratio, None)
        between = one.repeats.minus(two.repeats) if one.repeats and two.repeats else None
        spread = self._spread(Sample(difference, one.draws - two.draws, between))
        interval, p = percentile_interval(spread.draws, level), spread.p_of(difference)
        if ratio is None:
            return Comparison(difference, interval, None, None, p)
        ratios = np.divide(one.draws, two.draws, out=np.full_like(one.draws, np.inf), where=two.draws > 0)
        if one.repeats and two.repeats and np.isfinite(ratios).all():  # to first order in the second system's value
            ratios = self._spread(Sample(ratio, ratios, one.repeats.minus(two.repeats, ratio).over(two.value))).draws
        low, high = percentile_interval(ratios, level)
        ratio_interval = (max(low, 0.0), high)
        return Comparison(difference, interval, ratio, ratio_interval if np.isfinite(ratio_interval[1]) else None, p)

    def _sample_of(self, outcomes: Outcomes | Sample) -> Sample:
        return outcomes if isinstance(outcomes, Sample) else self.sample(outcomes)

    def _spread(self, sample: Sample) -> "_Spread":
        """Draws of families and of repeats."""
        repeats, of_families = sample.repeats, float(sample.draws.var())
        between, expected = repeats.variances() if repeats else (0.0, 0.0)
        if repeats is None or len(repeats.values) < _FEWEST or not between > _EXCESS * expected:
            return _Spread(sample.draws, np.sqrt(of_families), self.families - 1)
        share = float((repeats.shares**2).sum())
        total = of_families + share * (between - expected)
        freedom = (len(repeats.values) - 1) * (total / (share * between)) ** 2
        rng = np.random.default_rng([self._seed, 1])  # the same for systems that are compared
        shifts = np.sqrt(share * (between - expected)) * rng.standard_normal(len(sample.draws))
        widths = np.sqrt(freedom / rng.chisquare(freedom, len(sample.draws)))
        drawn = sample.value + (sample.draws - sample.value + shifts) * widths
        return _Spread(drawn, np.sqrt(total), freedom)


@dataclass(frozen=True)
class _Spread:
    """Draws (draws,) of a statistic, its standard error, and the degrees of freedom of that."""

    draws: np.ndarray
    error: float
    freedom: float

    def p_of(self, value: float) -> float:
        """Two-sided p-value of a true value of zero."""
        if self.error == 0:
            return 1.0 if value == 0 else 0.0
        return float(2 * stdtr(self.freedom, -abs(value) / self.error))


class FamilyBootstrap(ClusterBootstrap[np.ndarray]):
    """The mean over groups of the mean of a group's items.

    One group gives the plain mean, one group per class the mean per-class accuracy.
    Outcomes are (n,) float, e.g. hits, item by item. Items of several repeats are pooled: a family that is tested in
    several repeats is one cluster.
    """

    def __init__(
        self,
        families: np.ndarray,
        draws: int,
        seed: int,
        groups: np.ndarray | None = None,
        repeat: np.ndarray | None = None,
    ) -> None:
        """Draw.

        Args:
            families, draws, seed: as for `ClusterBootstrap`.
            groups: (n,) the group of each item, or None for a single group.
            repeat: (n,) the repeat of each item, or None to leave the effect of repeats out.
        """
        super().__init__(families, draws, seed)
        self._family = np.searchsorted(self.names, families.astype(str))
        group = np.zeros(len(families)) if groups is None else groups.astype(str)
        group_names, self._group = np.unique(group, return_inverse=True)
        self._shape = (self.families, len(group_names))
        self._counts = self._per_family(np.ones(len(families)))
        self._drawn_counts = self.times @ self._counts
        numbers = [] if repeat is None else np.unique(repeat).tolist()
        self._masks = [repeat == number for number in numbers] if len(numbers) > 1 else []
        self._few = self.times[:REPEAT_DRAWS]

    def value(self, outcomes: np.ndarray) -> float:
        """See `ClusterBootstrap`."""
        return float((self._per_family(outcomes).sum(axis=0) / self._counts.sum(axis=0)).mean())

    def draws(self, outcomes: np.ndarray) -> np.ndarray:
        """See `ClusterBootstrap`; groups that a resample misses do not count in it."""
        return _mean_of_means(self.times @ self._per_family(outcomes), self._drawn_counts)

    def repeats(self, outcomes: np.ndarray) -> Repeats | None:
        """See `ClusterBootstrap`."""
        if not self._masks:
            return None
        values, draws = [], []
        for inside in self._masks:
            sums, counts = self._per_family(outcomes * inside), self._per_family(inside.astype(np.float64))
            values.append(_mean_of_means(sums.sum(axis=0), counts.sum(axis=0)))
            draws.append(_mean_of_means(self._few @ sums, self._few @ counts))
        shares = np.array([inside.mean() for inside in self._masks])
        return Repeats(np.array(values), np.stack(draws, axis=1), shares)

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


def _mean_of_means(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Mean over the last axis of sums over counts, where there are any; NaN where there are none: (..., G) to (...)."""
    present = counts > 0
    means = np.divide(sums, counts, out=np.zeros_like(sums), where=present)
    number = present.sum(axis=-1)
    found = np.full(np.shape(number), np.nan)
    np.divide(means.sum(axis=-1), number, out=found, where=number > 0)
    return found


def holm(p: Sequence[float]) -> list[float]:
    """P-values corrected for their number by Holm's (1979) step-down method, in the same order.

    The least p-value is multiplied by their number m, the next by m - 1, and so on; none may fall below the one before,
    and none exceeds 1. Rejecting those below a level keeps the chance of any false rejection below that level, however
    the tests depend on each other.
    """
    corrected, largest = [0.0] * len(p), 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=lambda index: p[index])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[place]))
        corrected[place] = largest
    return corrected


def family_draws(families: int, draws: int, seed: int) -> np.ndarray:
    """How often each family was drawn, (draws, F) float64; not to be written to, as later calls get the same array."""
    return (_few_drawn if families * draws <= _FEW else _many_drawn)(families, draws, seed)


def _drawn(families: int, draws: int, seed: int) -> np.ndarray:
    probabilities = np.full(families, 1 / families)
    generator, times = np.random.default_rng(seed), np.empty((draws, families))
    for start in range(0, draws, _DRAWN_TOGETHER):
        part = times[start : start + _DRAWN_TOGETHER]
        part[:] = generator.multinomial(families, probabilities, size=len(part))
    times.flags.writeable = False
    return times


_few_drawn, _many_drawn = lru_cache(maxsize=16)(_drawn), lru_cache(maxsize=1)(_drawn)


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
