"""Rows of real (tiny) backbones: every position once, unreadable and non-finite samples with their reason."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.config.schema import EncodeParams, EncoderSpec, ViewSpec
from pipeline.encoders.checkpoint import materialise
from pipeline.encoders.image import ImageEncoder, load_image_encoder
from pipeline.encoders.text import load_text_encoder
from pipeline.encoding.regions import region_means
from pipeline.encoding.rows import NOT_FINITE, ImageRows, TextRows
from pipeline.errors import DataError
from tests.dag import tiny

PARAMS = EncodeParams(batch_size=4, text_batch_size=3, workers=2, shard_rows=8)
GRID = ViewSpec(encoder="eye", resolution=28, tier="grid", grid=1)
WORDS = ViewSpec(encoder="words")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root: Path = tmp_path_factory.mktemp("tiny")
    tiny.write_image_checkpoint(root / "eye", 0)
    tiny.write_text_checkpoint(root / "words", 0)
    return root


@pytest.fixture(scope="module")
def eye(folder: Path) -> ImageEncoder:
    spec = EncoderSpec(modality="image", source="local", model=str(folder / "eye"), loader="transformers")
    materialise(spec, folder / "made-eye")
    return load_image_encoder(folder / "made-eye", spec, GRID, "cpu")


def picture(identifier: str) -> Image.Image:
    if identifier == "bad":
        raise DataError("not an image of a known format")
    generator = np.random.default_rng(int(identifier))
    return Image.fromarray(generator.integers(0, 255, (40, 50, 3), dtype=np.uint8))


def gathered(rows: ImageRows | TextRows, ids: list[str]) -> tuple[dict[str, np.ndarray], list[str | None]]:
    arrays = {spec.name: np.zeros((len(ids), *spec.row_shape), dtype=np.float32) for spec in rows.specs}
    reasons: list[str | None] = ["never came"] * len(ids)
    for batch in rows.encode(ids):
        for offset, position in enumerate(batch.positions):
            assert reasons[position] == "never came", "a position came twice"
            reasons[position] = batch.reasons[offset]
            for name, values in batch.arrays.items():
                arrays[name][position] = values[offset]
    return arrays, reasons


@pytest.mark.parametrize("tier", ["cls", "grid", "full"])
def test_arrays_of_each_tier_equal_the_encoder(eye: ImageEncoder, tier: str) -> None:
    view = GRID.model_copy(update={"tier": tier})
    ids = [str(number) for number in range(10)]
    arrays, reasons = gathered(ImageRows(eye, view, picture, PARAMS), ids)
    assert reasons == [None] * 10
    features = eye.forward(torch.stack([eye.preprocess(picture(identifier)) for identifier in ids]))
    expected = {"cls": features.cls, "mean": features.patch.mean(2)}
    if tier == "grid":
        expected["grid"] = region_means(features.patch[:, -1], eye.patch_grid, 1)
    if tier == "full":
        expected["patch"] = features.patch[:, -1]
    assert arrays.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(arrays[name], values.numpy(), atol=1e-5)


def test_an_unreadable_image_has_a_reason_and_harms_no_other(eye: ImageEncoder) -> None:
    with_bad, reasons = gathered(ImageRows(eye, GRID, picture, PARAMS), ["0", "bad", "1", "2", "3", "4"])
    without, _ = gathered(ImageRows(eye, GRID, picture, PARAMS), ["0", "1", "2", "3", "4"])
    assert reasons == [None, "not an image of a known format", None, None, None, None]
    np.testing.assert_allclose(np.delete(with_bad["cls"], 1, axis=0), without["cls"], atol=1e-5)


def test_non_finite_features_are_refused(eye: ImageEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = ImageRows(eye, GRID, picture, PARAMS)
    honest = eye.forward

    def poisoned(pixels: torch.Tensor) -> object:
        features = honest(pixels)
        patch = features.patch.clone()
        patch[1] = float("nan")
        return type(features)(cls=features.cls, patch=patch)

    monkeypatch.setattr(eye, "forward", poisoned)
    assert gathered(rows, ["0", "1", "2"])[1] == [None, NOT_FINITE, None]


def test_texts_come_back_in_their_places(folder: Path) -> None:
    spec = EncoderSpec(
        modality="text", source="local", model=str(folder / "words"), loader="transformers", pooling="mean"
    )
    materialise(spec, folder / "made-words")
    encoder = load_text_encoder(folder / "made-words", spec, WORDS, "cpu")
    strings = {"a": "a picture of a red anchor .", "b": "red", "c": "a blue bridge", "d": "green", "e": "a red guitar"}
    arrays, reasons = gathered(TextRows(encoder, WORDS, strings, PARAMS), list(strings))
    assert reasons == [None] * 5
    for row, text in enumerate(strings.values()):
        np.testing.assert_allclose(arrays["pooled"][row], encoder.encode([text])[0].numpy(), atol=1e-5)
