"""Ways from a patch token to a class, for one aligner."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from pipeline.alignment.dense import DenseHead
from pipeline.alignment.zero_shot import classifier
from pipeline.config import CAPTION_SUPERVISED, MASK_SUPERVISED, with_method
from pipeline.evaluation.embeddings import TrainedAligner


class PatchMethod(Protocol):
    """Patch tokens and texts in one space, by repeat.

    Attributes:
        aligner: whose features they are.
        name: of the method's rows in a result.
    """

    aligner: TrainedAligner
    name: str

    def patch_vectors(self, repeat: int, patch: np.ndarray, unit: bool = True) -> np.ndarray:
        """(N, P, D) patch tokens to (N, P, K) float32, of unit length unless `unit` is false."""
        ...

    def text_vectors(self, repeat: int, group: str, dataset: str, ids: np.ndarray) -> np.ndarray:
        """Unit vectors (n, K) float32 of stored texts."""
        ...

    def scale(self, repeat: int) -> float:
        """What cosines are multiplied by before a softmax over classes."""
        ...


class LocalProjector:
    """The projector of local tokens, which was trained on whole pictures: how Freeze-Align segments."""

    def __init__(self, aligner: TrainedAligner, name: str) -> None:
        self.aligner, self.name = aligner, name

    def patch_vectors(self, repeat: int, patch: np.ndarray, unit: bool = True) -> np.ndarray:
        """See `PatchMethod`."""
        return self.aligner.heads(repeat).embed_patches(patch, unit)

    def text_vectors(self, repeat: int, group: str, dataset: str, ids: np.ndarray) -> np.ndarray:
        """See `PatchMethod`."""
        return self.aligner.text_vectors(repeat, group, dataset, ids)

    def scale(self, repeat: int) -> float:
        """See `PatchMethod`."""
        return self.aligner.heads(repeat).logit_scale


class RegionHead:
    """A dense head, fitted to regions of composed training scenes: by their masks, or found by captions."""

    def __init__(self, aligner: TrainedAligner, name: str, head: str) -> None:
        """Open the dense head `head`; errors as `DenseHead.from_folder`, and as `require_same_encoder`."""
        self.aligner, self.name, self._head = aligner, name, head
        self._repeats: dict[int, DenseHead] = {}

    def patch_vectors(self, repeat: int, patch: np.ndarray, unit: bool = True) -> np.ndarray:
        """See `PatchMethod`."""
        return self._of(repeat).embed_patches(patch, unit)

    def text_vectors(self, repeat: int, group: str, dataset: str, ids: np.ndarray) -> np.ndarray:
        """See `PatchMethod`."""
        return self._of(repeat).embed_text(self.aligner.text_features(group, dataset, ids))

    def scale(self, repeat: int) -> float:
        """See `PatchMethod`."""
        return self._of(repeat).scale

    def _of(self, repeat: int) -> DenseHead:
        if repeat not in self._repeats:
            head = DenseHead.from_folder(self._head, repeat)
            head.require_encoders_of(self.aligner.config, f"Dense head {self._head!r} of aligner {self.aligner.name!r}")
            self._repeats[repeat] = head
        return self._repeats[repeat]


def methods_of(aligner: TrainedAligner) -> list[PatchMethod]:
    """How an aligner segments: by its projector of local tokens, and by a dense head of either supervision it names.

    A dense head reads the aligner's encoders and masks or captions, and nothing of its own head, so it is a method
    beside it.
    """
    evaluation = aligner.spec.evaluation
    methods: list[PatchMethod] = [LocalProjector(aligner, aligner.name)]
    heads = {MASK_SUPERVISED: evaluation.dense_head, CAPTION_SUPERVISED: evaluation.caption_head}
    for method, head in heads.items():
        if head is not None:
            methods.append(RegionHead(aligner, with_method(aligner.name, method), head))
    return methods


def patch_classifier(
    method: PatchMethod, repeat: int, place: tuple[str, str], classes: Sequence[Sequence[str]], kind: str
) -> np.ndarray:
    """One vector per class, (C, K) float32.

    Args:
        place: group and data set of the stored texts.
        classes: the text ids of each.
        kind: as for `class_vectors`.
    """
    return classifier(classes, lambda ids: method.text_vectors(repeat, *place, np.array(ids)), kind)
