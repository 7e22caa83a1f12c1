"""Checkpoints that the tests of encoders share: the embedded ones, converted once, and one picture."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.config import AnyView, EncoderSpec, ImageView, TextView
from pipeline.encoders.checkpoint import materialise
from pipeline.encoders.embedded import EMBEDDED
from pipeline.errors import CheckpointError
from pipeline.torchvision_fix import ensure_torchvision

ensure_torchvision()

TEXTS = {"all-MiniLM-L6-v2", "multilingual-e5-small", "random-MiniLM-L6"}
SOUNDS = {"whisper-tiny.en", "random-whisper-tiny", "log-mel-statistics"}


def spec(modality: str, loader: str, model: str = "x", source: str = "local", **options: Any) -> EncoderSpec:
    """An encoder entry; `layers` may be a list, as in YAML."""
    layers = {"layers": tuple(options.pop("layers", (-1,)))}
    return EncoderSpec(modality=modality, loader=loader, model=model, source=source, **layers, **options)


def view(**options: Any) -> AnyView:
    """A view of images where it has a resolution, else of texts."""
    return ImageView(encoder="x", **options) if "resolution" in options else TextView(encoder="x", **options)


def picture(width: int = 150, height: int = 110, seed: int = 0) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (11, 15, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of an embedded encoder; fails with the name of its package where that is not installed."""
    folders: dict[str, Path] = {}

    def build(model: str) -> Path:
        if model not in folders:
            folder = tmp_path_factory.mktemp("embedded") / model
            modality = "text" if model in TEXTS else "audio" if model in SOUNDS else "image"
            try:
                materialise(spec(modality, EMBEDDED[model][0], model, "embedded"), folder)
            except CheckpointError as error:
                pytest.fail(f"{error}\n`make test` installs all embedded encoders.", pytrace=False)
            folders[model] = folder
        return folders[model]

    return build
