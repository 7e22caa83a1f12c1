"""Frozen image encoders behind one interface: the model's own preprocessing, CLS (or pooled) and patch features.

Shapes: B images, L kept layers, P patches, D features.
"""

from dataclasses import dataclass
from pathlib import Path

import torch

from pipeline.config import EncoderSpec, ImageView
from pipeline.encoders.config_files import with_sound_config
from pipeline.encoders.dual import check_described, is_dual
from pipeline.encoders.imported import refuse_imported
from pipeline.encoders.manifest import manifest_for
from pipeline.encoders.named_parts import check_names
from pipeline.encoders.precision import compile_blocks, mixed_precision, use_channels_last
from pipeline.encoders.tower import Tokens, Tower, patch_mean
from pipeline.errors import CheckpointError
from pipeline.torchvision_fix import ensure_torchvision


@dataclass(frozen=True)
class ImageFeatures:
    """Features of a batch.

    Attributes:
        cls: (B, L, D) float32: the CLS token, the model's pooled output or the patch mean, by `pooling`.
        patch: (B, L, P, D) float32, row-major.
        grids: as of `Tokens`.
    """

    cls: torch.Tensor
    patch: torch.Tensor
    grids: torch.Tensor | None = None


class ImageEncoder:
    """A frozen image encoder at one resolution.

    Attributes:
        layers: the L kept layers, counted from 1.
        patch_grid: rows and columns of patches; their product is P, 0 where the encoder gives none or `grids_vary`.
        grids_vary: whether each image has a grid of its own.
        width: D.
        device: as PyTorch names it.
        preprocess: an RGB image of any size -> (3, H, W) float32, as the model's own library prepares it, or what
            stands for it where `grids_vary`; it does not hold the model, and can be pickled.
    """

    def __init__(self, tower: Tower, pooling: str, device: str, autocast: str | None = None) -> None:
        self._tower = tower
        self._pooling = pooling
        self._autocast = autocast
        self._format = torch.contiguous_format
        self.device = device
        self.layers = tower.layers
        self.patch_grid = tower.patch_grid
        self.grids_vary = tower.grids_vary
        self.width = tower.width
        self.preprocess = tower.preprocess

    @torch.inference_mode()
    def forward(self, pixels: torch.Tensor) -> ImageFeatures:
        """Encode preprocessed images.

        Args:
            pixels: (B, 3, H, W) float32, stacked outputs of `preprocess`.
        """
        return self.features(pixels)

    @property
    def backbone(self) -> torch.nn.Module:
        """The library's own module."""
        return self._tower.backbone

    def features(self, pixels: torch.Tensor) -> ImageFeatures:
        """As `forward`, for whoever traces the computation."""
        pixels = pixels.to(self.device, non_blocking=True, memory_format=self._format)
        with mixed_precision(self.device, self._autocast):
            layers, pooled = self._tower.forward(pixels)
        cls = [self._pool(tokens, pooled) for tokens in layers]
        return ImageFeatures(
            cls=torch.stack(cls, dim=1).float(),
            patch=torch.stack([tokens.patch for tokens in layers], dim=1).float(),
            grids=layers[0].grids,
        )

    def optimise(self, compiled: bool, channels_last: bool) -> None:
        """Compile the backbone's blocks and use the channels-last layout, as asked; values change by rounding only."""
        if channels_last:
            self._format = torch.channels_last
            use_channels_last(self._tower.backbone)
        if compiled:
            compile_blocks(self._tower.backbone, varying_length=False)

    def _pool(self, tokens: Tokens, pooled: torch.Tensor | None) -> torch.Tensor:
        if self._pooling == "mean":
            return patch_mean(tokens.patch, tokens.grids)
        output = tokens.cls if self._pooling == "cls" else pooled
        if output is None:
            raise CheckpointError(f"The model gave no output for pooling {self._pooling}")
        return output


@with_sound_config
def load_image_encoder(folder: Path, spec: EncoderSpec, view: ImageView, device: str) -> ImageEncoder:
    """Load an image encoder from its checkpoint folder, in evaluation mode, without touching the network.

    Each kept layer goes through the model's final norm, as in DINOv2's `get_intermediate_layers(norm=True)`. Blocks
    after the last kept one are not run. Attention is PyTorch's scaled dot product where the library offers it.
    A dual encoder with `pooling: model` gives only its projected `image_features`, and no patches.

    Args:
        folder: written by `checkpoint.materialise`.
        spec: which layers, which pooling, which dtype to compute in.
        view: its resolution, or None for the model's own.
        device: for PyTorch, for example "cpu" or "cuda:0".

    Raises:
        CheckpointError: the folder is unfinished, does not hold what its manifest lists, or lacks what was asked for;
            the message lists what it has.
    """
    refuse_imported(spec, folder.name)
    manifest = manifest_for(folder, spec.loader, "image")
    check_names(folder, spec.loader, spec.trust_remote_code)
    ensure_torchvision()
    whole = view.fit == "whole"
    if whole and (spec.loader == "open_clip" or is_dual(folder, spec)):
        raise CheckpointError(
            f"{folder.name}: a dual encoder sees images as its own library prepares them; set no `fit`"
        )
    tower: Tower
    if spec.loader == "open_clip":
        from pipeline.encoders.open_clip_dual import load_open_clip_tower

        tower = load_open_clip_tower(folder, spec, view, device)
    elif is_dual(folder, spec):
        check_described(manifest, folder.name)
        from pipeline.encoders.transformers_dual import load_dual_tower

        tower = load_dual_tower(folder, spec, view, device)
    elif spec.loader == "timm":
        from pipeline.encoders.timm_tower import load_timm

        tower = load_timm(folder, spec, view.resolution, device, whole)
    else:
        from pipeline.encoders.transformers_tower import load_tower

        tower = load_tower(folder, spec, view.resolution, device, whole)
    _check_pooling(tower, spec.pooling, f"{folder.name} ({manifest.architecture})")
    return ImageEncoder(tower, spec.pooling, device, spec.autocast)


def _check_pooling(tower: Tower, pooling: str, where: str) -> None:
    available = ["cls"] * tower.has_cls + ["model"] * tower.has_pooled + ["mean"]
    if pooling not in available:
        missing = {"cls": "no CLS token", "model": "no pooled output of its own"}.get(pooling, f"no {pooling} pooling")
        raise CheckpointError(f"{where} has {missing}; set `pooling` to one of: {', '.join(available)}")
