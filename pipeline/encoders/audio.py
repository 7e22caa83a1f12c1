"""Frozen audio encoders behind one interface: the model's own preprocessing, pooled features and frames in time.

Shapes: B windows, L kept layers, T frames in time, D features.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.config import AudioView, EncoderSpec
from pipeline.encoders.audio_tower import AudioTower, Frames
from pipeline.encoders.config_files import with_sound_config
from pipeline.encoders.manifest import Description, manifest_for
from pipeline.encoders.named_parts import check_names
from pipeline.encoders.precision import compile_blocks, mixed_precision
from pipeline.errors import CheckpointError
from pipeline.torchvision_fix import ensure_torchvision

LOG_MEL = "log-mel"
EMBEDDED: dict[str, tuple[str, Callable[[Path], str]]] = {}  # those of sounds are with the others


@dataclass(frozen=True)
class AudioFeatures:
    """Features of windows.

    Attributes:
        cls: (B, L, D) float32: the CLS token, the model's pooled output or the mean over frames, by `pooling`.
        mean: (B, L, D) float32 over real frames; None where the encoder has none.
        frames: (B, T, D) float32 of the last kept layer, real ones first; None where there are none.
        counts: how many real frames each window has; zeros where there are none.
    """

    cls: torch.Tensor
    mean: torch.Tensor | None
    frames: torch.Tensor | None
    counts: list[int]


@dataclass(frozen=True)
class PreparedWindows:
    """Windows as the model takes them, and the samples that each has."""

    inputs: Any
    lengths: list[int]


class AudioEncoder:
    """A frozen audio encoder for windows of a length.

    Attributes:
        rate: of the samples that it takes, in Hz.
        least: samples that a window has at least.
        layers: the L kept layers, counted from 1.
        width: D.
        has_frames: whether it gives frames, which tiers grid and full keep.
        device: as PyTorch names it.
    """

    def __init__(self, tower: AudioTower, pooling: str, device: str, autocast: str | None = None) -> None:
        self._tower, self._pooling, self._autocast = tower, pooling, autocast
        self.device = device
        self.rate, self.least = tower.rate, tower.least
        self.layers, self.width, self.has_frames = tower.layers, tower.width, tower.has_frames

    @property
    def backbone(self) -> torch.nn.Module | None:
        """The library's own module; None where nothing is learnt."""
        return self._tower.backbone

    def optimise(self, compiled: bool) -> None:
        """Compile the backbone's blocks, if asked; values change by rounding only."""
        if compiled and self._tower.backbone is not None:
            compile_blocks(self._tower.backbone, varying_length=True)

    def frame_count(self, samples: int) -> int:
        """Real frames of a window of so many samples; 0 where there are none."""
        return self._tower.frame_count(samples) if self.has_frames else 0

    def prepare(self, windows: Sequence[np.ndarray]) -> PreparedWindows:
        """Windows, each (n,) float32 of one channel at `rate` and of at least `least` samples, as the model takes them.

        It does not use the device.
        """
        return PreparedWindows(self._tower.prepare(windows), [len(window) for window in windows])

    @torch.inference_mode()
    def forward(self, prepared: PreparedWindows) -> AudioFeatures:
        """Encode prepared windows."""
        with mixed_precision(self.device, self._autocast):
            heard = self._tower.forward(prepared.inputs)
        counts = [self.frame_count(length) for length in prepared.lengths]
        means = [None if layer.frames is None else _mean(layer.frames, counts) for layer in heard.layers]
        cls = [self._pool(layer, mean, heard.pooled) for layer, mean in zip(heard.layers, means, strict=True)]
        last = heard.layers[-1].frames
        averaged = [mean for mean in means if mean is not None]
        return AudioFeatures(
            cls=torch.stack(cls, dim=1).float(),
            mean=torch.stack(averaged, dim=1) if averaged else None,
            frames=None if last is None else last.float(),
            counts=counts,
        )

    def _pool(self, layer: Frames, mean: torch.Tensor | None, pooled: torch.Tensor | None) -> torch.Tensor:
        output = {"cls": layer.cls, "mean": mean, "model": pooled}.get(self._pooling)
        if output is None:
            raise CheckpointError(f"The model gave no output for pooling {self._pooling}")
        return output


def _mean(frames: torch.Tensor, counts: Sequence[int]) -> torch.Tensor:
    """Mean (B, D) over each window's own frames."""
    return torch.stack([own[:count].float().mean(dim=0) for own, count in zip(frames, counts, strict=True)])


def describe(folder: Path, spec: EncoderSpec) -> Description:
    """Describe an audio checkpoint from its configuration.

    Raises:
        CheckpointError: it is of no known family, or has no feature extractor.
    """
    ensure_torchvision()
    if spec.loader == LOG_MEL:
        from pipeline.encoders.log_mel import describe_log_mel

        return describe_log_mel(folder)
    from pipeline.encoders.audio_families import describe_family

    return describe_family(folder)


@with_sound_config
def load_audio_encoder(folder: Path, spec: EncoderSpec, view: AudioView, device: str) -> AudioEncoder:
    """Load an audio encoder from its checkpoint folder, in evaluation mode, without touching the network.

    Each kept layer goes through the model's final norm where it has one. Blocks after the last kept one are not run.

    Args:
        folder: written by `checkpoint.materialise`.
        spec: which layers, which pooling, which dtype to compute in.
        view: the length of its windows.
        device: for PyTorch, for example "cpu" or "cuda:0".

    Raises:
        CheckpointError: the folder is unfinished, does not hold what its manifest lists, or lacks what was asked for;
            the message lists what it has.
    """
    manifest = manifest_for(folder, spec.loader, "audio")
    check_names(folder, spec.loader, spec.trust_remote_code)
    ensure_torchvision()
    tower: AudioTower
    if spec.loader == LOG_MEL:
        from pipeline.encoders.log_mel import LogMelTower

        tower = LogMelTower(folder, view.seconds)
    else:
        from pipeline.encoders.audio_families import load_family

        tower = load_family(folder, spec, view.seconds, device)
    where = f"{folder.name} ({manifest.architecture})"
    available = ["cls"] * tower.has_cls + ["model"] * tower.has_pooled + ["mean"] * tower.has_frames
    if spec.pooling not in available:
        missing = {"cls": "no CLS token", "model": "no pooled output of its own"}.get(
            spec.pooling, f"no {spec.pooling} pooling"
        )
        raise CheckpointError(f"{where} has {missing}; set `pooling` to one of: {', '.join(available)}")
    if view.tier != "pooled" and not tower.has_frames:
        raise CheckpointError(f"{where} gives one vector per window and no frames; set `tier: pooled`")
    return AudioEncoder(tower, spec.pooling, device, spec.autocast)
