"""Frozen encoders of videos: video models of transformers, image models on each frame, and statistics of the frames.

Shapes: B videos, T frames that are seen, S time steps that an encoder tells apart, L kept layers, D features.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import torch
from PIL import Image

from pipeline.config import EncoderSpec
from pipeline.config.video_view import VideoView
from pipeline.encoders.config_files import with_sound_config
from pipeline.encoders.hf_weights import load_weights
from pipeline.encoders.image import ImageEncoder
from pipeline.encoders.manifest import Description, manifest_for
from pipeline.encoders.named_parts import check_names
from pipeline.encoders.precision import compile_blocks, mixed_precision
from pipeline.encoders.tower import patch_mean
from pipeline.errors import CheckpointError
from pipeline.files import write_json
from pipeline.torchvision_fix import ensure_torchvision

STATISTICS: Final = "statistics"
_CLASSES = {"videomae": "VideoMAEModel", "timesformer": "TimesformerModel", "vivit": "VivitModel"}
_CELLS = 4  # of each side, for the statistics
_UNUSED = ("layernorm.weight", "layernorm.bias")  # of VideoMAE, whose fine-tuned models pool before the norm


def _write_statistics(folder: Path) -> str:
    write_json({"cells": _CELLS}, folder / "statistics.json")
    return "1"


EMBEDDED: Final[dict[str, tuple[str, Callable[[Path], str]]]] = {
    "frame-statistics": (STATISTICS, _write_statistics),
}


@dataclass(frozen=True)
class VideoFeatures:
    """Features of videos.

    Attributes:
        cls: (B, L, D) float32, by `pooling`.
        mean: (B, L, D) float32 over patches and time; None where there are none.
        steps: (B, S, D) float32 of the last layer; None where time is not told apart.
    """

    cls: torch.Tensor
    mean: torch.Tensor | None
    steps: torch.Tensor | None


class VideoTower(Protocol):
    """An encoder of videos, loaded for a view.

    Attributes:
        layers: the L kept ones, counted from 1.
        width: D.
        steps: S; 0 where time is not told apart.
    """

    layers: tuple[int, ...]
    width: int
    steps: int

    def prepare(self, frames: Sequence[Image.Image]) -> torch.Tensor:
        """The T frames of a video as the model takes them, without the device."""
        ...

    def forward(self, videos: torch.Tensor) -> VideoFeatures:
        """Encode prepared videos."""
        ...

    def optimise(self) -> None:
        """Compile the blocks; values change by rounding only."""
        ...


def describe(folder: Path, spec: EncoderSpec) -> Description:
    """See `Towers`."""
    ensure_torchvision()
    if spec.loader == STATISTICS:
        width = 2 * 3 * _CELLS**2 + 3 * _CELLS**2
        return Description("FrameStatistics", width, None, None, None, {"cells": _CELLS})
    config = _config(folder)
    if config is not None:
        preprocessing = _Processor(folder).describe()
        name = _CLASSES[config.model_type]
        return Description(name, config.hidden_size, getattr(config, "patch_size", None), None, None, preprocessing)
    if spec.loader == "timm":
        from pipeline.encoders.timm_tower import describe_timm

        return describe_timm(folder)
    from pipeline.encoders.transformers_tower import describe_tower

    return describe_tower(folder)


@with_sound_config
def load_video_encoder(folder: Path, spec: EncoderSpec, view: VideoView, device: str) -> VideoTower:
    """Load an encoder of videos from its checkpoint folder, in evaluation mode, without touching the network.

    Raises:
        CheckpointError: the folder is unfinished or damaged, or lacks what was asked for.
    """
    manifest_for(folder, spec.loader, "video")
    check_names(folder, spec.loader, spec.trust_remote_code)
    ensure_torchvision()
    if spec.loader == STATISTICS:
        return FrameStatistics()
    config = _config(folder)
    if config is not None:
        return VideoModel(folder, config, spec, view, device)
    if spec.loader == "timm":
        from pipeline.encoders.timm_tower import load_timm

        tower: Any = load_timm(folder, spec, view.resolution, device)
    else:
        from pipeline.encoders.transformers_tower import load_tower

        tower = load_tower(folder, spec, view.resolution, device)
    available = ["cls"] * tower.has_cls + ["model"] * tower.has_pooled + ["mean"]
    if spec.pooling not in available:
        raise CheckpointError(f"{folder.name} has no {spec.pooling} output; `pooling` may be {', '.join(available)}")
    if tower.grids_vary or not tower.patch_grid[0]:
        raise CheckpointError(f"{folder.name} gives no patches on one grid, of which a video's mean is taken")
    return FrameByFrame(ImageEncoder(tower, spec.pooling, device, spec.autocast), view.frames)


class FrameByFrame:
    """A `VideoTower` of an image model: each frame is a picture, and all are averaged."""

    def __init__(self, encoder: ImageEncoder, frames: int) -> None:
        self._encoder = encoder
        self.layers, self.width, self.steps = encoder.layers, encoder.width, frames

    def prepare(self, frames: Sequence[Image.Image]) -> torch.Tensor:
        """See `VideoTower`: (T, 3, H, W)."""
        return torch.stack([self._encoder.preprocess(frame) for frame in frames])

    def forward(self, videos: torch.Tensor) -> VideoFeatures:
        """See `VideoTower`."""
        features = self._encoder.forward(videos.flatten(0, 1))
        cls, mean = (
            values.reshape(*videos.shape[:2], *values.shape[1:])
            for values in (features.cls, patch_mean(features.patch, None))
        )
        return VideoFeatures(cls.mean(1), mean.mean(1), cls[:, :, -1])

    def optimise(self) -> None:
        """See `VideoTower`."""
        self._encoder.optimise(compiled=True, channels_last=False)


class VideoModel:
    """A `VideoTower` of a video model of transformers, its last layer."""

    def __init__(self, folder: Path, config: Any, spec: EncoderSpec, view: VideoView, device: str) -> None:
        """Load it.

        Raises:
            CheckpointError: weights are missing, or the view asks for other frames, pixels or layers than it has.
        """
        import transformers

        for key, asked, has in (
            ("frames", view.frames, config.num_frames),
            ("resolution", view.resolution, config.image_size),
        ):
            if asked != has:
                raise CheckpointError(
                    f"{folder.name} sees {has} {key}, and the view asks for {asked}: set `{key}: {has}`"
                )
        if spec.layers != (-1,):
            raise CheckpointError(f"{folder.name}: of video models the last layer is kept; set `layers: [-1]`")
        pooled = config.model_type == "vivit" and spec.pooling == "model"
        has_cls = config.model_type != "videomae"
        available = ["mean", *["cls"] * has_cls, *["model"] * (config.model_type == "vivit")]
        if spec.pooling not in available:
            raise CheckpointError(
                f"{folder.name} has no {spec.pooling} output; set `pooling` to {' or '.join(available)}"
            )
        options: dict[str, Any] = {"add_pooling_layer": pooled} if config.model_type == "vivit" else {}
        model_class = getattr(transformers, _CLASSES[config.model_type])
        self._model = load_weights(model_class, folder, spec, device, lambda key: key in _UNUSED, **options)
        self._processor, self._pooling, self._has_cls = _Processor(folder), spec.pooling, has_cls
        self._device, self._autocast = device, spec.autocast
        self._patch_major = config.model_type == "timesformer"
        tubelet = getattr(config, "tubelet_size", 1)
        self.steps = config.num_frames // (tubelet if isinstance(tubelet, int) else tubelet[0])
        self.layers: tuple[int, ...] = (config.num_hidden_layers,)
        self.width: int = config.hidden_size

    def prepare(self, frames: Sequence[Image.Image]) -> torch.Tensor:
        """See `VideoTower`: (T, 3, H, W), as the model's own processor prepares them."""
        return self._processor(frames)

    @torch.inference_mode()
    def forward(self, videos: torch.Tensor) -> VideoFeatures:
        """See `VideoTower`."""
        with mixed_precision(self._device, self._autocast):
            output = self._model(pixel_values=videos.to(self._device, self._model.dtype))
        hidden = output.last_hidden_state.float()
        tokens = hidden[:, 1:] if self._has_cls else hidden
        shape = (-1, self.steps) if self._patch_major else (self.steps, -1)
        steps = tokens.unflatten(1, shape).mean(1 if self._patch_major else 2)
        mean = tokens.mean(1)
        cls = {"cls": hidden[:, 0], "mean": mean}.get(self._pooling)
        cls = output.pooler_output.float() if cls is None else cls
        return VideoFeatures(cls[:, None], mean[:, None], steps)

    def optimise(self) -> None:
        """See `VideoTower`."""
        compile_blocks(self._model, varying_length=False)


class FrameStatistics:
    """A `VideoTower` without weights: mean and deviation of colours in cells, and how much they change in time."""

    layers: tuple[int, ...] = (1,)
    width = 3 * 3 * _CELLS**2
    steps = 0

    def prepare(self, frames: Sequence[Image.Image]) -> torch.Tensor:
        """See `VideoTower`: the statistics themselves, (D,)."""
        small = [frame.resize((8 * _CELLS, 8 * _CELLS), Image.Resampling.BOX) for frame in frames]
        pixels = np.stack([np.asarray(frame, np.float32) / 255 for frame in small])
        cells = pixels.reshape(len(frames), _CELLS, 8, _CELLS, 8, 3)
        means, deviations = cells.mean((2, 4)), cells.std((2, 4))
        change = np.abs(np.diff(means, axis=0)).mean(0) if len(frames) > 1 else np.zeros_like(means[0])
        parts = (means.mean(0), deviations.mean(0), change)
        return torch.from_numpy(np.concatenate([part.ravel() for part in parts]).astype(np.float32))

    def forward(self, videos: torch.Tensor) -> VideoFeatures:
        """See `VideoTower`."""
        return VideoFeatures(videos[:, None], None, None)

    def optimise(self) -> None:
        """See `VideoTower`: nothing is compiled."""


class _Processor:
    """transformers' own processor of a video model."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoImageProcessor

        try:
            self._own: Any = AutoImageProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{folder}: expected a usable preprocessor_config.json: {error}") from error

    def __call__(self, frames: Sequence[Image.Image]) -> torch.Tensor:
        pixels: torch.Tensor = self._own(list(frames), return_tensors="pt")["pixel_values"][0]
        return pixels

    def describe(self) -> dict[str, Any]:
        kept = {key: value for key, value in self._own.to_dict().items() if not key.startswith("_")}
        plain = {key: value for key, value in kept.items() if isinstance(value, bool | int | float | str | None | list)}
        sizes = {key: dict(kept[key]) for key in ("size", "crop_size") if isinstance(kept.get(key), dict)}
        return {"processor": type(self._own).__name__} | dict(sorted((plain | sizes).items()))


def _config(folder: Path) -> Any:
    """The configuration of a video model of transformers; None of a folder that has another model."""
    from transformers import AutoConfig

    if not (folder / "config.json").is_file():
        return None
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError):
        return None  # of timm, or unknown: its own loader says so
    return config if config.model_type in _CLASSES else None
