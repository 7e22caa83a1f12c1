"""Several aligners whose scores are averaged, as one row of every table."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from pipeline.alignment.ensembles import joined_vectors, require_same_data, score_shares
from pipeline.config import EnsembleSpec, EvaluationViews
from pipeline.evaluation.embeddings import TrainedAligner
from pipeline.features.by_id import SomeIds


class JoinedAligners(TrainedAligner):
    """As `TrainedAligner`, of several: their vectors stand in a row, so that a cosine is the mean of their scores.

    The heads of one repeat are joined, all of which were fitted to the training families of that repeat. Tasks that
    see patch tokens or cut texts are of single aligners: an ensemble has none of the views that they ask for.
    """

    def __init__(self, name: str, spec: EnsembleSpec, aligners: Mapping[str, TrainedAligner]) -> None:
        """Join the aligners that the entry names.

        Raises:
            ModelError: they were fitted to other data sets.
        """
        self.name, self._scores = name, spec.scores
        self._members = [aligners[member] for member in spec.of]
        first = self._members[0]
        self.spec = first.spec.model_copy(update={"evaluation": EvaluationViews()})
        require_same_data(repr(name), {one.name: one.config for one in self._members})
        self.views = {side: " + ".join(one.views[side] for one in self._members) for side in first.views}

    def logit_scale(self, repeat: int) -> float:
        """See `TrainedAligner`: the mean of the members' scales."""
        return score_shares(self._scores, self._scales(repeat))[1]

    def has_image(self, dataset: str, ids: SomeIds) -> np.ndarray:
        """See `TrainedAligner`: which images all members have features of."""
        return self._all(lambda one: one.has_image(dataset, ids))

    def has_text(self, group: str, dataset: str, ids: SomeIds) -> np.ndarray:
        """See `TrainedAligner`: which texts all members have features of."""
        return self._all(lambda one: one.has_text(group, dataset, ids))

    def holds_text(self, group: str, dataset: str, ids: SomeIds) -> np.ndarray:
        """See `TrainedAligner`: which texts all members have rows for."""
        return self._all(lambda one: one.holds_text(group, dataset, ids))

    def image_vectors(self, repeat: int, dataset: str, ids: SomeIds) -> np.ndarray:
        """See `TrainedAligner`."""
        return self._joined(repeat, lambda one: one.image_vectors(repeat, dataset, ids))

    def text_vectors(self, repeat: int, group: str, dataset: str, ids: SomeIds) -> np.ndarray:
        """See `TrainedAligner`."""
        return self._joined(repeat, lambda one: one.text_vectors(repeat, group, dataset, ids))

    def class_vectors(
        self, repeat: int, group: str, dataset: str, classes: Sequence[Sequence[str]], kind: str
    ) -> np.ndarray:
        """See `TrainedAligner`: each member's own class vectors, so that scores are averaged here too."""
        return self._joined(repeat, lambda one: one.class_vectors(repeat, group, dataset, classes, kind))

    def _scales(self, repeat: int) -> list[float]:
        return [one.logit_scale(repeat) for one in self._members]

    def _joined(self, repeat: int, vectors: Callable[[TrainedAligner], np.ndarray]) -> np.ndarray:
        shares, _ = score_shares(self._scores, self._scales(repeat))
        return joined_vectors([vectors(one) for one in self._members], shares)

    def _all(self, which: Callable[[TrainedAligner], np.ndarray]) -> np.ndarray:
        found: np.ndarray = np.logical_and.reduce([which(one) for one in self._members])
        return found
