"""Intervals by resampling concept families, since pictures of one concept are correlated (cluster bootstrap)."""

import numpy as np

DRAWS = 1000


class FamilyDraws:
    """Draws of families for one set of samples; every weighted mean over these samples uses the same draws."""

    def __init__(self, families: np.ndarray, weights: np.ndarray, seed: int) -> None:
        """Prepare the draws.

        Args:
            families: (M,) the family of each sample; all samples of a drawn family come along.
            weights: (M,) of each sample in the mean.
            seed: of the draws.
        """
        names, self._family = np.unique(families.astype(str), return_inverse=True)
        self._weights, self._families = weights, len(names)
        generator = np.random.default_rng(seed)
        times = generator.multinomial(len(names), np.full(len(names), 1 / len(names)), size=DRAWS)
        self._times = times.astype(np.float64)  # (draws, families): how often each family was drawn
        self._mass = self._times @ np.bincount(self._family, weights=weights)

    def interval(self, values: np.ndarray, level: float = 0.95) -> tuple[float, float] | None:
        """Percentile interval of the weighted mean of `values` (M,); None with fewer than two families."""
        if self._families < 2:
            return None
        totals = np.bincount(self._family, weights=values * self._weights, minlength=self._families)
        tail = (1 - level) / 2
        low, high = np.quantile((self._times @ totals) / self._mass, [tail, 1 - tail], method="inverted_cdf")
        return float(low), float(high)
