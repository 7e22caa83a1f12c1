"""The median rank of the right answers, bootstrapped over families."""

import numpy as np

from pipeline.statistics import REPEAT_DRAWS, ClusterBootstrap, Repeats

_CHUNK = 1 << 22  # weights held at once: 32 MB


class MedianBootstrap(ClusterBootstrap[np.ndarray]):
    """The median over all items; outcomes are (n,) int64 ranks, item by item. Repeats are pooled."""

    def __init__(self, families: np.ndarray, draws: int, seed: int, repeat: np.ndarray) -> None:
        """Draw.

        Args:
            families, draws, seed: as for `ClusterBootstrap`.
            repeat: (n,) the repeat of each item.
        """
        super().__init__(families, draws, seed)
        self._family = np.searchsorted(self.names, families.astype(str))
        numbers = np.unique(repeat)
        self._inside = [np.flatnonzero(repeat == number) for number in numbers] if len(numbers) > 1 else []

    def value(self, outcomes: np.ndarray) -> float:
        """See `ClusterBootstrap`."""
        return float(np.median(outcomes))

    def draws(self, outcomes: np.ndarray) -> np.ndarray:
        """See `ClusterBootstrap`."""
        return self._medians(outcomes, self._family, self.times)

    def repeats(self, outcomes: np.ndarray) -> Repeats | None:
        """See `ClusterBootstrap`."""
        if not self._inside:
            return None
        few = self.times[:REPEAT_DRAWS]
        drawn = [self._medians(outcomes[items], self._family[items], few) for items in self._inside]
        values = np.array([np.median(outcomes[items]) for items in self._inside])
        shares = np.array([len(items) / len(outcomes) for items in self._inside])
        return Repeats(values, np.stack(drawn, axis=1), shares)

    @staticmethod
    def _medians(ranks: np.ndarray, family: np.ndarray, times: np.ndarray) -> np.ndarray:
        """The median with each item as often as its family was drawn, (draws,); NaN where none was.

        Where half of the items lie on either side of a gap, the middle of it, as `np.median` has it.
        """
        order = np.argsort(ranks, kind="stable")
        ordered, family = ranks[order].astype(np.float64), family[order]
        medians = np.full(len(times), np.nan)
        step = max(1, _CHUNK // len(ranks))
        for first in range(0, len(times), step):
            upto = np.cumsum(times[first : first + step][:, family], axis=1)
            half = upto[:, -1:] / 2
            low, high = (upto >= half).argmax(axis=1), (upto > half).argmax(axis=1)
            middle = (ordered[low] + ordered[high]) / 2
            medians[first : first + step] = np.where(half[:, 0] > 0, middle, np.nan)
        return medians
