"""What the image models of all libraries have in common: tokens per block, and checks of layers and resolution.

Shapes: B images, P patches, D features.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from PIL import Image

from pipeline.errors import CheckpointError


@dataclass(frozen=True)
class Tokens:
    """Output of one block after the model's final norm; CLS, register and distillation tokens are not in `patch`.

    Attributes:
        cls: (B, D), or None where the model has no CLS token.
        patch: (B, P, D), row-major.
        grids: (B, 2) int64, rows and columns of each image's own patches, which come first in `patch`; None where all
            have the tower's grid.
    """

    cls: torch.Tensor | None
    patch: torch.Tensor
    grids: torch.Tensor | None = None


class Tower(Protocol):
    """An image model of one library, loaded for some of its layers.

    Attributes:
        layers: the kept layers, counted from 1, in the order they were asked for.
        patch_grid: rows and columns of patches; zeros where there are none, or each image has its own.
        grids_vary: whether each image has its own.
        width: D.
        has_cls, has_pooled: whether there is a CLS token, and a pooled output of the model's own.
        backbone: the library's own module.
        preprocess: an RGB image of any size -> (3, H, W) float32, or what a tower of varying grids takes in its place;
            it does not hold the model, and can be pickled.
    """

    layers: tuple[int, ...]
    patch_grid: tuple[int, int]
    grids_vary: bool
    width: int
    has_cls: bool
    has_pooled: bool
    backbone: torch.nn.Module
    preprocess: Callable[[Image.Image], torch.Tensor]

    def forward(self, pixels: torch.Tensor) -> tuple[list[Tokens], torch.Tensor | None]:
        """(B, 3, H, W) -> tokens of each kept layer, and the pooled output (B, D) if the tower was loaded for it.

        It may be called from several threads at once.
        """
        ...


def patch_mean(patch: torch.Tensor, grids: torch.Tensor | None) -> torch.Tensor:
    """Mean over patches: (B, ..., P, D) -> (B, ..., D), with the `grids` of `Tokens` over each image's own."""
    if grids is None:
        return patch.mean(dim=-2)
    counts = grids.prod(dim=1).tolist()
    return torch.stack([own[..., :count, :].mean(dim=-2) for own, count in zip(patch, counts, strict=True)])


def count_layers(requested: tuple[int, ...], depth: int, where: str) -> tuple[int, ...]:
    """Layers counted from 1; negative ones count from the end.

    Raises:
        CheckpointError: a layer does not exist.
    """
    wrong = [layer for layer in requested if not 1 <= abs(layer) <= depth]
    if wrong:
        raise CheckpointError(
            f"{where}: layers {wrong} do not exist; there are {depth}: 1 to {depth}, or -{depth} to -1 from the end"
        )
    return tuple(layer if layer > 0 else depth + 1 + layer for layer in requested)


def check_patches(resolution: int, patch: int, where: str) -> int:
    """Number of patches along a side.

    Raises:
        CheckpointError: the resolution is not a multiple of the patch size.
    """
    if resolution % patch:
        below = max(resolution // patch, 1) * patch
        raise CheckpointError(
            f"{where}: resolution {resolution} is not a multiple of the patch size {patch}; "
            f"the nearest are {below} and {below + patch}"
        )
    return resolution // patch
