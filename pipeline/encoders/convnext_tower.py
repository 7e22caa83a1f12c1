"""DINOv3's ConvNeXt of transformers: positions of the last map, and their mean in place of a CLS token."""

from collections.abc import Callable
from typing import Any

import torch
from PIL import Image

from pipeline.config import EncoderSpec
from pipeline.encoders.tower import Tokens
from pipeline.errors import CheckpointError

MODEL_TYPE = "dinov3_convnext"
CLASS = "DINOv3ConvNextModel"
STRIDE = 32  # a stem of 4 and three halvings


class ConvNextTower:
    """A `Tower` of the last layer alone."""

    layers: tuple[int, ...] = (1,)
    grids_vary = False
    has_cls = True
    has_pooled = True

    def __init__(
        self, model: Any, preprocess: Callable[[Image.Image], torch.Tensor], side: int, spec: EncoderSpec, where: str
    ) -> None:
        """Take the loaded model.

        Raises:
            CheckpointError: another layer than the last is asked for.
        """
        if set(spec.layers) != {-1}:
            raise CheckpointError(
                f"{where}: a CNN has its last layer only, found layers {list(spec.layers)}; set `layers: [-1]`"
            )
        self.width = int(model.config.hidden_sizes[-1])
        self.patch_grid = (side, side)
        self.backbone: torch.nn.Module = model
        self.preprocess = preprocess
        self._model = model

    def forward(self, pixels: torch.Tensor) -> tuple[list[Tokens], torch.Tensor | None]:
        """See `Tower`."""
        output = self._model(pixel_values=pixels.to(self._model.dtype))
        hidden = output.last_hidden_state
        return [Tokens(hidden[:, 0], hidden[:, 1:])], output.pooler_output
