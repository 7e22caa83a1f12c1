"""What every head is: frozen features of both sides in, unit vectors of one space out, and the temperature between.

Shapes: B rows, T tokens, P patches, D the width of an encoder, K the shared width.
"""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from pipeline.alignment.data.inputs import ImageInput, TextInput

SCALE_RANGE = (2.0, 1000.0)  # a temperature between 0.5 and 0.001, as in Freeze-Align's code


class Head(nn.Module, ABC):
    """Projectors of both sides, and what the loss multiplies cosines by.

    `logit_scale` is the logarithm of 1 / temperature, as in CLIP: steps are relative, and an optimiser that decays
    matrices alone leaves it free. `logit_bias` is what a sigmoid loss adds to the scaled cosines.

    Args:
        temperature: at the start.
        logit_bias: at the start; None for no such parameter.
    """

    logit_bias: nn.Parameter | None

    def __init__(self, temperature: float = 0.07, logit_bias: float | None = None) -> None:
        super().__init__()
        self.logit_scale = nn.Parameter(torch.tensor(-math.log(temperature)))
        self.logit_bias = None if logit_bias is None else nn.Parameter(torch.tensor(float(logit_bias)))
        self.clamp_scale()

    @abstractmethod
    def image_features(self, images: ImageInput) -> Tensor:
        """Unit vectors of images, (B, K) float32."""

    @abstractmethod
    def patch_features(self, patch_BPD: Tensor, unit: bool = True) -> Tensor:
        """Vectors of single patch tokens, (B, P, K) float32, of unit length unless `unit` is false."""

    @abstractmethod
    def text_features(self, texts: TextInput) -> Tensor:
        """Unit vectors of texts, (B, K) float32."""

    def scale(self) -> Tensor:
        """What cosines are multiplied by in the loss: exp(logit_scale), a scalar."""
        return self.logit_scale.exp()

    def bias(self) -> Tensor | None:
        """What a sigmoid loss adds to scaled cosines, a scalar; None where the head was made without."""
        return self.logit_bias

    @torch.no_grad()
    def clamp_scale(self) -> None:
        """Bring the scale back into its range; after each optimiser step, so that its gradient never vanishes."""
        self.logit_scale.clamp_(math.log(SCALE_RANGE[0]), math.log(SCALE_RANGE[1]))


def parameter_count(module: nn.Module) -> int:
    """Number of trainable scalars."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def token_mean(x_BTD: Tensor, mask_BT: Tensor | None = None) -> Tensor:
    """Mean over the tokens that count, (B, D); every row has at least one."""
    if mask_BT is None:
        return x_BTD.mean(dim=1)
    weights_BT = mask_BT.to(x_BTD.dtype)
    weights_BT = weights_BT / weights_BT.sum(dim=1, keepdim=True)
    return torch.einsum("bt,btd->bd", weights_BT, x_BTD)
