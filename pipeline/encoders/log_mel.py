"""A baseline that has learnt nothing: mean and standard deviation of each band of a log-mel spectrogram.

The spectrogram is that of Whisper's feature extractor, so that what Whisper adds to it can be told.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from pipeline.encoders.audio_tower import Extractor, Frames, Heard
from pipeline.encoders.manifest import Description
from pipeline.errors import CheckpointError

ARCHITECTURE = "LogMelStatistics"


def describe_log_mel(folder: Path) -> Description:
    """Describe the folder of a baseline.

    Raises:
        CheckpointError: it has no feature extractor of Whisper's kind.
    """
    extractor = _extractor(folder)
    return Description(
        architecture=ARCHITECTURE,
        width=2 * extractor.own.feature_size,
        patch_size=None,
        layers=None,
        prefix_tokens=None,
        preprocessing=extractor.describe(),
    )


class LogMelTower:
    """An `AudioTower` without weights: means and then standard deviations of the bands, (B, 2 * bins)."""

    has_cls, has_frames, has_pooled, least = False, False, True, 1

    def __init__(self, folder: Path, seconds: float) -> None:
        """Load the feature extractor.

        Raises:
            CheckpointError: it is of another kind.
        """
        self._extractor = _extractor(folder)
        self._hop = self._extractor.own.hop_length
        self._samples = -(-round(seconds * self._extractor.rate) // self._hop) * self._hop
        self.rate = self._extractor.rate
        self.layers: tuple[int, ...] = (1,)
        self.width: int = 2 * self._extractor.own.feature_size
        self.backbone: torch.nn.Module | None = None

    def prepare(self, windows: Sequence[np.ndarray]) -> torch.Tensor:
        """See `AudioTower`: the statistics themselves."""
        spectra = self._extractor(windows, max_length=self._samples).input_features
        counts = [max(1, min(spectra.shape[2], -(-len(window) // self._hop))) for window in windows]
        real = [spectrum[:, :count] for spectrum, count in zip(spectra, counts, strict=True)]
        return torch.stack([torch.cat([own.mean(dim=1), own.std(dim=1, correction=0)]) for own in real])

    def forward(self, prepared: torch.Tensor) -> Heard:
        """See `AudioTower`."""
        return Heard([Frames(None, None)], prepared)

    def frame_count(self, samples: int) -> int:  # noqa: ARG002
        """See `AudioTower`."""
        return 0


def _extractor(folder: Path) -> Extractor:
    extractor = Extractor(folder)
    if type(extractor.own).__name__ != "WhisperFeatureExtractor":
        raise CheckpointError(
            f"{folder}: loader log-mel needs the feature extractor of Whisper, found {type(extractor.own).__name__}"
        )
    return extractor
