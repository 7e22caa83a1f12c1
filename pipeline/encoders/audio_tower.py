"""What the audio models of all families have in common.

Shapes: B windows, L kept layers, T frames in time, D features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from pipeline.errors import CheckpointError


@dataclass(frozen=True)
class Frames:
    """Output of one layer for windows, whose real frames come first.

    Attributes:
        cls: (B, D), or None where the model has no CLS token.
        frames: (B, T, D), or None where it gives one vector per window.
    """

    cls: torch.Tensor | None
    frames: torch.Tensor | None


@dataclass(frozen=True)
class Heard:
    """What a tower gives of windows.

    Attributes:
        layers: of each kept layer, in the order in which they were asked for.
        pooled: (B, D), the model's own, if the tower was loaded for it.
    """

    layers: list[Frames]
    pooled: torch.Tensor | None


class AudioTower(Protocol):
    """An audio model, loaded for some of its layers and for windows of at most so many seconds.

    Attributes:
        rate: of the samples that it takes, in Hz.
        least: samples that a window has at least.
        layers: the kept layers, counted from 1, in the order they were asked for.
        width: D.
        has_cls, has_frames, has_pooled: whether there is a CLS token, frames, and a pooled output of the model's own.
        backbone: the library's own module, None where nothing is learnt.
    """

    rate: int
    least: int
    layers: tuple[int, ...]
    width: int
    has_cls: bool
    has_frames: bool
    has_pooled: bool
    backbone: torch.nn.Module | None

    def prepare(self, windows: Sequence[np.ndarray]) -> Any:
        """Windows, each (n,) float32 of one channel, as the model takes them; without the device."""
        ...

    def forward(self, prepared: Any) -> Heard:
        """Run the model on what `prepare` gave. It may be called from several threads at once."""
        ...

    def frame_count(self, samples: int) -> int:
        """Real frames of a window of so many samples; 0 where the model has no frames."""
        ...


class Extractor:
    """transformers' own feature extractor of a folder.

    Attributes:
        rate: in Hz.
        own: the library's object.
    """

    def __init__(self, folder: Path) -> None:
        """Load it.

        Raises:
            CheckpointError: the folder has none for audio.
        """
        from transformers import AutoFeatureExtractor

        try:
            self.own: Any = AutoFeatureExtractor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{folder}: expected a usable preprocessor_config.json: {error}") from error
        rate = getattr(self.own, "sampling_rate", None)
        if not isinstance(rate, int) or not 1_000 <= rate <= 768_000:
            raise CheckpointError(f"{folder}: expected the feature extractor of an audio model, with a sampling_rate")
        self.rate = rate

    def __call__(self, windows: Sequence[np.ndarray], **options: Any) -> Any:
        """Windows as tensors."""
        return self.own(list(windows), sampling_rate=self.rate, return_tensors="pt", **options)

    def describe(self) -> dict[str, Any]:
        """What determines the model's input, for the manifest."""
        kept = {
            key: value
            for key, value in self.own.to_dict().items()
            if isinstance(value, bool | int | float | str | None) and not key.startswith("_")
        }
        kept.pop("feature_extractor_type", None)
        kept.pop("processor_class", None)
        return {"extractor": type(self.own).__name__} | dict(sorted(kept.items()))


def check_seconds(seconds: float, most: float, where: str) -> None:
    """Check that a model hears windows of so many seconds.

    Raises:
        CheckpointError: it does not; the message has the most.
    """
    if seconds > most:
        raise CheckpointError(
            f"{where} hears at most {most:g} seconds at once, and the view asks for {seconds:g}: lower its `seconds`; "
            "longer clips are read in several windows"
        )
