"""Image models of timm: Vision Transformers by layer, and every other model by its last features.

Those are a map (CNNs, Swin) or tokens in rows (mixers): its positions are the patches, row-major.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from pipeline.config import EncoderSpec
from pipeline.encoders.hf_weights import SMALLER
from pipeline.encoders.manifest import Description
from pipeline.encoders.memory import explain_out_of_memory
from pipeline.encoders.tower import Tokens, Tower, check_patches, count_layers
from pipeline.errors import CheckpointError
from pipeline.torchvision_fix import ensure_torchvision


def describe_timm(folder: Path) -> Description:
    """Describe a timm folder; the model is loaded, so a folder that does not fit its architecture is rejected here.

    Raises:
        CheckpointError: timm cannot load the folder, or the model's input is no square of three channels.
    """
    ensure_torchvision()
    model = _create(folder)
    data = _data_config(model, None)
    _require_rgb_square(data, model.pretrained_cfg["architecture"], folder)
    vit = _is_vit(model)
    return Description(
        architecture=model.pretrained_cfg["architecture"],
        width=model.num_features,
        patch_size=model.patch_embed.patch_size[0] if vit else None,
        layers=len(model.blocks) if vit else None,
        prefix_tokens=model.num_prefix_tokens if vit else 0,
        preprocessing={
            "mean": list(data["mean"]),
            "std": list(data["std"]),
            "interpolation": data["interpolation"],
            "input_size": data["input_size"][-1],
            "crop_pct": data["crop_pct"],
            "crop_mode": data["crop_mode"],
        },
    )


def load_timm(folder: Path, spec: EncoderSpec, resolution: int | None, device: str, whole: bool = False) -> Tower:
    """Load a timm model for the layers, the resolution and the dtype of `spec`; `whole` as of `fit`.

    Raises:
        CheckpointError: timm cannot load the folder, or layers or resolution do not exist.
    """
    model = _create(folder)
    data = _data_config(model, resolution)
    data |= {"crop_pct": 1.0, "crop_mode": "squash"} if whole else {}
    side = data["input_size"][-1]
    dtype = getattr(torch, spec.dtype)
    if _is_vit(model):
        count = check_patches(side, model.patch_embed.patch_size[0], folder.name)
        layers = count_layers(spec.layers, len(model.blocks), folder.name)
        if spec.pooling == "model" and layers != (len(model.blocks),):
            raise CheckpointError(
                f"{folder.name}: pooling model exists for the last layer only, found layers {list(spec.layers)}; "
                "set `layers: [-1]`, or pooling cls or mean"
            )
        model.set_input_size(img_size=(side, side))
        with explain_out_of_memory(folder.name, SMALLER):
            model = model.to(device, dtype)
        return TimmViT(model, data, layers, count, spec.pooling == "model")
    if set(spec.layers) != {-1}:
        raise CheckpointError(
            f"{folder.name}: a CNN has its last layer only, found layers {list(spec.layers)}; set `layers: [-1]`"
        )
    with explain_out_of_memory(folder.name, SMALLER):
        model = model.to(device, dtype, memory_format=torch.channels_last)
    return TimmMap(model, data, folder.name)


class _TimmModel:
    grids_vary = False

    def __init__(self, model: Any, data: dict[str, Any]) -> None:
        from timm.data import create_transform

        self.width: int = model.num_features
        self.backbone: torch.nn.Module = model
        self._model = model
        self._dtype = next(model.parameters()).dtype
        self.preprocess: Callable[[Image.Image], torch.Tensor] = create_transform(**data, is_training=False)


class TimmViT(_TimmModel):
    """A `Tower` over a Vision Transformer of timm, position embeddings resampled by timm."""

    def __init__(self, model: Any, data: dict[str, Any], layers: tuple[int, ...], side: int, pooled: bool) -> None:
        super().__init__(model, data)
        self.layers = layers
        self.patch_grid = (side, side)
        self.has_cls = getattr(model, "cls_token", None) is not None
        self.has_pooled = True
        self._pooled = pooled
        self._kept = sorted(set(layers))

    def forward(self, pixels: torch.Tensor) -> tuple[list[Tokens], torch.Tensor | None]:
        """See `Tower`."""
        result = self._model.forward_intermediates(
            pixels.to(self._dtype),
            indices=[layer - 1 for layer in self._kept],
            return_prefix_tokens=True,
            norm=True,
            stop_early=not self._pooled,
            output_fmt="NLC",
            intermediates_only=not self._pooled,
        )
        last, outputs = result if self._pooled else (None, result)
        tokens = dict(zip(self._kept, (self._split(output) for output in outputs), strict=True))
        pooled = self._model.forward_head(last, pre_logits=True) if self._pooled else None
        return [tokens[layer] for layer in self.layers], pooled

    def _split(self, output: Any) -> Tokens:
        patch, prefix = output if isinstance(output, tuple) else (output, None)
        return Tokens(prefix[:, 0] if self.has_cls and prefix is not None else None, patch)


class TimmMap(_TimmModel):
    """A `Tower` over any other model of timm: positions of its last features are the patches."""

    def __init__(self, model: Any, data: dict[str, Any], where: str) -> None:
        """Find out how the model lays out its features.

        Raises:
            CheckpointError: it does not take the resolution, or gives no square of positions.
        """
        super().__init__(model, data)
        device = next(model.parameters()).device
        side = data["input_size"][-1]
        try:
            if hasattr(model, "set_input_size"):
                model.set_input_size(img_size=(side, side))
            with torch.inference_mode():
                blank = torch.zeros(1, *data["input_size"], dtype=self._dtype, device=device)
                features = model.forward_features(blank)
                pooled = model.forward_head(features, pre_logits=True)
        except (AssertionError, RuntimeError, ValueError) as error:
            raise CheckpointError(
                f"{where}: the model does not take inputs of {side} pixels: {' '.join(str(error).split())[:200]}; "
                f"set its own `resolution`, {resolution_of(model)}"
            ) from error
        self._prefix = int(getattr(model, "num_prefix_tokens", 0)) if features.ndim == 3 else 0
        self.has_cls = self._prefix > 0 and getattr(model, "cls_token", None) is not None
        self._last = features.shape[-1] == self.width and (features.ndim == 3 or features.shape[1] != self.width)
        positions = features.shape[1] - self._prefix if features.ndim == 3 else 0
        rows = math.isqrt(positions)
        if not (features.ndim == 4 and self.width in (features.shape[1], features.shape[3])) and not (
            features.ndim == 3 and self._last and rows > 0 and rows * rows == positions
        ):
            raise CheckpointError(
                f"{where}: expected a feature map (1, {self.width}, height, width) or tokens of a square, found "
                f"{tuple(features.shape)}; such a model of timm is not supported"
            )
        self.layers: tuple[int, ...] = (1,)
        grid = features.shape[1:3] if self._last else features.shape[2:4]
        self.patch_grid = (rows, rows) if features.ndim == 3 else (int(grid[0]), int(grid[1]))
        self.has_pooled = pooled.shape == (1, self.width)  # some CNNs widen their features after pooling

    def forward(self, pixels: torch.Tensor) -> tuple[list[Tokens], torch.Tensor | None]:
        """See `Tower`."""
        features = self._model.forward_features(pixels.to(self._dtype, memory_format=torch.channels_last))
        pooled = self._model.forward_head(features, pre_logits=True) if self.has_pooled else None
        if features.ndim == 3:
            return [Tokens(features[:, 0] if self.has_cls else None, features[:, self._prefix :])], pooled
        return [Tokens(None, features.flatten(1, 2) if self._last else features.flatten(2).transpose(1, 2))], pooled


def _require_rgb_square(data: dict[str, Any], architecture: str, folder: Path) -> None:
    channels, height, width = data["input_size"]
    if channels != 3 or height != width:
        raise CheckpointError(
            f"{folder}: {architecture} takes {channels} channels of {height} x {width} pixels; expected 3 of a square, "
            "as pictures are given to an encoder. Choose a model for RGB whose input is a square."
        )


def resolution_of(model: Any) -> int:
    """The side of the input that a model of timm was made for."""
    return int(_data_config(model, None)["input_size"][-1])


def _create(folder: Path) -> Any:
    import timm
    from safetensors import SafetensorError

    try:
        with explain_out_of_memory(folder.name, SMALLER):
            return timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0).eval()
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, SafetensorError) as error:
        raise CheckpointError(
            f"timm cannot load {folder} as the architecture that its config.json names: "
            f"{' '.join(str(error).split())[:400]}"
        ) from error


def _data_config(model: Any, resolution: int | None) -> dict[str, Any]:
    from timm.data import resolve_model_data_config

    data: dict[str, Any] = resolve_model_data_config(model)
    return data | {"input_size": (3, resolution, resolution)} if resolution else data


def _is_vit(model: Any) -> bool:
    return hasattr(model, "num_prefix_tokens") and hasattr(model, "set_input_size") and hasattr(model, "blocks")
