"""Several heads as one: their unit vectors in a row, weighted, so that cosines add."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pipeline.alignment.data.inputs import ImageInput, TextInput
from pipeline.alignment.heads.base import Head


class Ensemble(Head):
    """Concatenates the members' unit vectors, each times the root of its share of the weights.

    The vectors have unit length, and their cosine is the weighted mean of the members' cosines.

    Args:
        members: heads of any width.
        weights: positive, one per member.
    """

    def __init__(self, members: Sequence[Head], weights: Sequence[float], temperature: float = 0.07) -> None:
        super().__init__(temperature)
        self.members = nn.ModuleList(members)
        self.weights = tuple(weights)
        self._roots = [(weight / sum(weights)) ** 0.5 for weight in weights]

    def image_features(self, images: ImageInput) -> Tensor:
        """See `Head`."""
        return self._joined([member.image_features(images) for member in self._heads()])

    def patch_features(self, patch_BPD: Tensor, unit: bool = True) -> Tensor:
        """See `Head`."""
        return self._joined([member.patch_features(patch_BPD, unit) for member in self._heads()])

    def text_features(self, texts: TextInput) -> Tensor:
        """See `Head`."""
        return self._joined([member.text_features(texts) for member in self._heads()])

    def _heads(self) -> list[Head]:
        return [member for member in self.members if isinstance(member, Head)]

    def _joined(self, parts: list[Tensor]) -> Tensor:
        return torch.cat([root * part for root, part in zip(self._roots, parts, strict=True)], dim=-1)
