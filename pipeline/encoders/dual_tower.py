"""The image tower of a dual encoder: one vector per image."""

from collections.abc import Callable

import torch
from PIL import Image

from pipeline.encoders.tower import Tokens


class DualTower:
    """A `Tower` of one vector per image and no patch tokens, which are not in the space that the towers share.

    Args:
        preprocess: an RGB image -> (3, H, W) float32.
        encode: (B, 3, H, W) float32 -> (B, width).
    """

    layers: tuple[int, ...] = (1,)
    patch_grid: tuple[int, int] = (0, 0)
    grids_vary = False
    has_cls = False
    has_pooled = True

    def __init__(
        self,
        preprocess: Callable[[Image.Image], torch.Tensor],
        encode: Callable[[torch.Tensor], torch.Tensor],
        width: int,
        backbone: torch.nn.Module,
    ) -> None:
        self.width = width
        self.backbone = backbone
        self.preprocess = preprocess
        self._encode = encode

    def forward(self, pixels: torch.Tensor) -> tuple[list[Tokens], torch.Tensor | None]:
        """See `Tower`."""
        features = self._encode(pixels)
        return [Tokens(None, features.new_empty(len(features), 0, self.width))], features
