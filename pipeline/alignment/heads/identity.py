"""The head of an aligner that is one already: features of a dual encoder, brought to unit length. Nothing is trained.

Shapes: B rows, P patches, K the width of the features of both sides.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.alignment.data.inputs import ImageInput, TextInput
from pipeline.alignment.heads.base import Head


class Identity(Head):
    """Takes the place of trained projectors.

    Args:
        logit_scale: the logarithm of what the dual encoder multiplies cosines by.
    """

    def __init__(self, logit_scale: float) -> None:
        super().__init__()
        with torch.no_grad():
            self.logit_scale.fill_(logit_scale)
        self.requires_grad_(False)

    def image_features(self, images: ImageInput) -> Tensor:
        """Unit vectors of images, (B, K) float32; local tokens are not used."""
        return F.normalize(images.cls.float(), dim=-1)

    def patch_features(self, patch_BPD: Tensor, unit: bool = True) -> Tensor:
        """Vectors of single patch tokens, (B, P, K) float32, of unit length unless `unit` is false."""
        return F.normalize(patch_BPD.float(), dim=-1) if unit else patch_BPD.float()

    def text_features(self, texts: TextInput) -> Tensor:
        """Unit vectors of texts of one token, (B, K) float32."""
        return F.normalize(texts.tokens[:, 0].float(), dim=-1)
