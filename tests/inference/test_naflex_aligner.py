"""What an aligner does with SigLIP2 of naflex beside encoding: segments on a square, and is not exported to ONNX."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate

from pipeline.encoders.manifest import read_manifest
from pipeline.encoding.identity import fingerprint_of
from pipeline.errors import CheckpointError, ModelError
from pipeline.inference.encoders import FrozenEncoders
from pipeline.inference.segment import centred, segment_image
from pipeline.inference.stock import onnx
from tests.encoders.conftest import picture, view
from tests.encoders.test_naflex import Own, checkpoint, entry, folder

__all__ = ["checkpoint", "folder"]
PICTURE = picture(150, 110, 3)


@pytest.fixture
def encoders(folder: Path, checkpoint: Path) -> FrozenEncoders:
    recorded = fingerprint_of(read_manifest(checkpoint), entry(folder), view(resolution=32, dtype="float32"))
    return FrozenEncoders({"image": recorded.as_dict()}, "a test", [checkpoint.parent], folder, "cpu", False)


def unit(vectors: np.ndarray) -> np.ndarray:
    made: np.ndarray = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return made


@pytest.mark.parametrize("resolution", [None, 48])
def test_segments_are_of_the_patches_of_a_square(
    encoders: FrozenEncoders, folder: Path, resolution: int | None
) -> None:
    side = resolution or 32
    own = Own(folder, [centred(PICTURE, 150).resize((side, side), Image.Resampling.BILINEAR)], side)
    (tokens,), ((rows, columns),) = own.tokens, own.grids
    assert rows == columns == side // 8
    spread = tokens.numpy() - tokens.numpy().mean(axis=0)
    classes = unit(spread[[0, rows * columns // 2, -1]])
    found = segment_image(encoders, lambda features: unit(features), PICTURE, classes, resolution)
    assert found.shape == (110, 150)
    cosines = torch.from_numpy((unit(tokens.numpy()) @ classes.T).T.reshape(1, 3, rows, columns))
    expected = interpolate(cosines, (150, 150), mode="bilinear")[0, :, 20:130].argmax(dim=0).numpy()
    assert len(np.unique(expected)) > 1
    assert (found == expected).mean() > 0.999
    with pytest.raises(CheckpointError, match="resolution 36 is not a multiple of the patch size 8"):
        segment_image(encoders, unit, PICTURE, classes, 36)


def test_it_is_not_exported_to_onnx(encoders: FrozenEncoders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx, "_require_libraries", lambda: None)
    heads: Any = SimpleNamespace(config=SimpleNamespace(embed_dim=24))
    with pytest.raises(ModelError, match="patches on a grid of each picture's own, which no ONNX file is given"):
        onnx.export_onnx(heads, encoders, tmp_path / "out", None, False, [PICTURE], ["a"])
