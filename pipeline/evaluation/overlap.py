"""How well predicted areas cover true ones: mean IoU and pixel accuracy, bootstrapped over families."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.statistics import REPEAT_DRAWS, ClusterBootstrap, Repeats

Measure = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Overlap:
    """Pixels of one system by repeat, family of the object they belong to, and class: each (R, F, C) float64.

    Attributes:
        hits: of this true class and predicted as such.
        truth: of this true class.
        predicted: predicted as this class, whatever their true one.
    """

    hits: np.ndarray
    truth: np.ndarray
    predicted: np.ndarray

    def of_repeat(self, repeat: int) -> "Overlap":
        """The counts of one repeat alone."""
        one = slice(repeat, repeat + 1)
        return Overlap(self.hits[one], self.truth[one], self.predicted[one])

    def of_families(self, chosen: np.ndarray) -> "Overlap":
        """The counts of the families at which `chosen` (F,) is true."""
        return Overlap(self.hits[:, chosen], self.truth[:, chosen], self.predicted[:, chosen])


def count_overlap(
    families: np.ndarray, truth: np.ndarray, predicted: np.ndarray, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hits, truth and predicted pixels by family and class, each (F, C) float64.

    Args:
        families, truth, predicted: (n,) of each pixel: number of its family (int64), true class (int64) and predicted
            class (any integers).
        shape: (F, C).
    """

    def counted(rows: np.ndarray, classes: np.ndarray) -> np.ndarray:
        flat = np.bincount(rows * shape[1] + classes, minlength=shape[0] * shape[1])
        return flat.reshape(shape).astype(np.float64)

    correct = truth == predicted
    return counted(families[correct], truth[correct]), counted(families, truth), counted(families, predicted)


def mean_iou(hits: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Mean over the classes that are present of intersection over union: (..., C) each, to (...).

    A class is present if it has true pixels. Pixels taken for an absent class count in the IoU of their true class.
    """
    present = truth > 0
    union = truth + predicted - hits
    iou = np.divide(hits, union, out=np.zeros_like(union), where=present)
    mean: np.ndarray = iou.sum(axis=-1) / present.sum(axis=-1)
    return mean


def mean_iou_of_all(hits: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Mean IoU over all classes except those that are neither present nor predicted: (..., C) each, to (...).

    A class that is predicted without being present counts as 0. As torchmetrics' `MulticlassJaccardIndex` (macro).
    """
    union = truth + predicted - hits
    counted = union > 0
    iou = np.divide(hits, union, out=np.zeros_like(union), where=counted)
    mean: np.ndarray = iou.sum(axis=-1) / np.maximum(counted.sum(axis=-1), 1)
    return mean


def pixel_accuracy(hits: np.ndarray, truth: np.ndarray, _predicted: np.ndarray) -> np.ndarray:
    """Share of the pixels that are predicted correctly: (..., C) each, to (...)."""
    share: np.ndarray = hits.sum(axis=-1) / truth.sum(axis=-1)
    return share


def chance_of(measure: Measure, truth: np.ndarray, candidates: int) -> float:
    """The value that is expected when each pixel is given one of `candidates` classes at random.

    In expectation a share 1 / candidates of the true pixels of a class are hit, and a share 1 / candidates of all
    pixels are taken for it. The IoU of a class is then expected hits over expected union, exact but for the
    covariance of the two, which vanishes with the number of pixels; the accuracy is 1 / candidates.

    Args:
        truth: (C,) true pixels of each class.
    """
    taken = np.full_like(truth, truth.sum() / candidates)
    return float(measure(truth / candidates, truth, taken))


def most_frequent_of(measure: Measure, truth: np.ndarray) -> float:
    """The value when every pixel is taken for the class with most true pixels (C,)."""
    taken = np.zeros_like(truth)
    most = int(truth.argmax())
    taken[most] = truth.sum()
    return float(measure(np.minimum(taken, truth), truth, taken))


class OverlapBootstrap(ClusterBootstrap[Overlap]):
    """A measure of areas. All pixels of a family are drawn together; repeats are pooled."""

    def __init__(self, measure: Measure, families: np.ndarray, draws: int, seed: int) -> None:
        """Draw.

        Args:
            measure: `mean_iou` or `pixel_accuracy`.
            families: (F,) str, sorted and distinct: the second axis of every `Overlap`.
            draws, seed: as for `ClusterBootstrap`.
        """
        super().__init__(families, draws, seed)
        if self.names.tolist() != families.tolist():
            raise ValueError("families must be sorted and distinct, as the axis of the counts")
        self._measure = measure

    def value(self, outcomes: Overlap) -> float:
        """See `ClusterBootstrap`."""
        counts = (outcomes.hits, outcomes.truth, outcomes.predicted)
        return float(self._measure(*(count.sum(axis=(0, 1)) for count in counts)))

    def draws(self, outcomes: Overlap) -> np.ndarray:
        """See `ClusterBootstrap`."""
        counts = _seen(outcomes)
        return self._measure(*(self.times @ count.sum(axis=0) for count in counts))

    def repeats(self, outcomes: Overlap) -> Repeats | None:
        """See `ClusterBootstrap`; the repeats weigh by their true pixels, and one without any is left out."""
        counts = _seen(outcomes)
        pixels = counts[1].sum(axis=(1, 2))
        tested = np.flatnonzero(pixels)
        if len(tested) < 2:
            return None
        few = self.times[:REPEAT_DRAWS]
        values = np.array([self._measure(*(count[repeat].sum(axis=0) for count in counts)) for repeat in tested])
        draws = np.full((len(few), len(tested)), np.nan)
        for place, repeat in enumerate(tested):
            drawn = [few @ count[repeat] for count in counts]
            found = drawn[1].any(axis=1)
            draws[found, place] = self._measure(*(count[found] for count in drawn))
        return Repeats(values, draws, pixels[tested] / pixels.sum())


def _seen(outcomes: Overlap) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The counts of the classes that are there or are predicted; other ones are in no mean."""
    seen = (outcomes.truth + outcomes.predicted).any(axis=(0, 1))
    return outcomes.hits[..., seen], outcomes.truth[..., seen], outcomes.predicted[..., seen]
