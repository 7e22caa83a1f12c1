"""Rows of real (tiny) backbones: every position once, unreadable and non-finite samples with their reason."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.config import EncodeParams, EncoderSpec, ImageView, TextView
from pipeline.encoders.checkpoint import materialise
from pipeline.encoders.image import ImageEncoder, load_image_encoder
from pipeline.encoders.text import load_text_encoder
from pipeline.encoders.text_encoder import TextBatch, TextEncoder
from pipeline.encoding.chunks import chunks
from pipeline.encoding.identity import fingerprint_of
from pipeline.encoding.regions import region_means
from pipeline.encoding.rows import NOT_FINITE, ImageRows, TextRows
from pipeline.errors import CheckpointError, DataError
from pipeline.inference.recorded import recorded_specs
from tests.dag import tiny

PARAMS = EncodeParams(batch_size=4, text_batch_size=3, workers=2, shard_rows=8)
GRID = ImageView(encoder="eye", resolution=28, tier="grid", grid=1)
WORDS = TextView(encoder="words")


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


def test_an_image_that_the_processor_refuses_has_a_reason(eye: ImageEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = eye.preprocess

    def particular(image: Image.Image) -> torch.Tensor:
        if image.getpixel((0, 0)) == picture("1").getpixel((0, 0)):
            raise ValueError("Unable to infer channel dimension format")
        return honest(image)

    monkeypatch.setattr(eye, "preprocess", particular)
    reasons = gathered(ImageRows(eye, GRID, picture, PARAMS), ["0", "1", "2"])[1]
    assert reasons == [None, "the image processor rejects it: Unable to infer channel dimension format", None]


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


class Counting:
    """A text encoder that notes what it was asked for."""

    def __init__(self, encoder: TextEncoder) -> None:
        self._encoder = encoder
        self.width, self.max_tokens, self.lengths = encoder.width, encoder.max_tokens, encoder.lengths
        self.device = encoder.device
        self.asked: list[tuple[int | None, list[str]]] = []

    def prepare(self, texts: list[str], max_tokens: int | None = None) -> TextBatch:
        self.asked.append((max_tokens, texts))
        return self._encoder.prepare(texts, max_tokens)

    def encode(self, texts: list[str] | TextBatch, max_tokens: int | None = None) -> torch.Tensor:
        batch = texts if isinstance(texts, TextBatch) else self.prepare(texts, max_tokens)
        return self._encoder.encode(batch)


def test_truncated_texts_equal_texts_encoded_at_that_length(folder: Path) -> None:
    spec = EncoderSpec(
        modality="text", source="local", model=str(folder / "words"), loader="transformers", pooling="mean"
    )
    materialise(spec, folder / "made-words-too")
    view = TextView(encoder="words", max_tokens=12, truncations=(3, 6, 12))
    loaded = load_text_encoder(folder / "made-words-too", spec, view, "cpu")
    strings = {
        "long": "a picture of a red anchor . a picture of a blue bridge . a green guitar",
        "short": "red",
        "middle": "a picture of a kettle",
        "other": "a drawing of a purple ladder of a green island",
    }
    encoder = Counting(loaded)
    rows = TextRows(encoder, view, strings, PARAMS)
    assert [(s.name, s.row_shape) for s in rows.specs] == [("pooled", (16,)), ("truncated", (3, 16))]
    arrays, reasons = gathered(rows, list(strings))
    assert reasons == [None] * 4
    for row, text in enumerate(strings.values()):
        np.testing.assert_allclose(arrays["pooled"][row], loaded.encode([text])[0].numpy(), atol=1e-5)
        for place, limit in enumerate(view.truncations):
            cut = load_text_encoder(folder / "made-words-too", spec, TextView(encoder="words", max_tokens=limit), "cpu")
            np.testing.assert_allclose(arrays["truncated"][row, place], cut.encode([text])[0].numpy(), atol=1e-5)
    again = [(limit, text) for limit, texts in encoder.asked for text in texts if limit is not None]
    longer = {limit: [t for t in strings.values() if loaded.lengths([t])[0] > limit] for limit in view.truncations}
    assert sorted(again) == sorted((limit, text) for limit, texts in longer.items() for text in texts)
    assert not longer[12]


def test_truncations_beyond_the_encoder_are_refused(folder: Path) -> None:
    spec = EncoderSpec(
        modality="text", source="local", model=str(folder / "words"), loader="transformers", pooling="mean"
    )
    materialise(spec, folder / "made-words-three")
    view = TextView(encoder="words", truncations=(8, 64))
    encoder = load_text_encoder(folder / "made-words-three", spec, view, "cpu")
    with pytest.raises(CheckpointError, match="at 64 tokens, its encoder reads 32"):
        TextRows(encoder, view, {}, PARAMS)


def test_long_texts_are_pooled_over_pieces(folder: Path) -> None:
    spec = EncoderSpec(
        modality="text", source="local", model=str(folder / "words"), loader="transformers", pooling="mean"
    )
    materialise(spec, folder / "made-words-four")
    view = TextView(encoder="words", chunk_tokens=8)
    loaded = load_text_encoder(folder / "made-words-four", spec, view, "cpu")
    strings = {
        "long": "a picture of a red anchor. a green guitar. a picture of a blue bridge of a red guitar of a green key",
        "short": "red",
    }
    rows = TextRows(loaded, view, strings, PARAMS)
    arrays, reasons = gathered(rows, list(strings))
    assert reasons == [None] * 2
    np.testing.assert_array_equal(arrays["chunked"][1], arrays["pooled"][1])
    pieces = chunks(strings["long"], loaded.lengths, 8)
    assert len(pieces) > 2
    assert " ".join(pieces) == strings["long"]
    assert max(loaded.lengths(pieces)) <= 8
    parts, weights = loaded.encode(pieces).numpy(), np.array(loaded.lengths(pieces))
    np.testing.assert_allclose(arrays["chunked"][0], weights @ parts / weights.sum(), atol=1e-5)
    assert not np.allclose(arrays["chunked"][0], arrays["pooled"][0], atol=1e-3)
    with pytest.raises(CheckpointError, match="pieces of 32 tokens, its encoder reads 32"):
        TextRows(loaded, TextView(encoder="words", chunk_tokens=32), {}, PARAMS)


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("one two three four", 9, ["one two three four"]),
        ("One two. Three four! Five six", 6, ["One two. Three four!", "Five six"]),
        ("one two three four five", 4, ["one two", "three", "four five"]),
        ("一。二。三", 3, ["一。", "二。", "三"]),
        ("   ", 3, ["   "]),
        ("monosyllabic", 2, ["monosyllabic"]),
    ],
)
def test_pieces(text: str, limit: int, expected: list[str]) -> None:
    assert chunks(text, lambda texts: [2 + len(text.split()) for text in texts], limit) == expected


def test_truncations_enter_the_fingerprint_only_where_there_are_any(folder: Path) -> None:
    spec = EncoderSpec(
        modality="text", source="local", model=str(folder / "words"), loader="transformers", pooling="mean"
    )
    manifest = materialise(spec, folder / "made-words-four")
    plain = fingerprint_of(manifest, spec, TextView(encoder="words", max_tokens=8))
    cut = fingerprint_of(manifest, spec, TextView(encoder="words", max_tokens=8, truncations=(4, 8)))
    assert "truncations" not in plain.compared
    assert cut.compared == plain.compared | {"truncations": [4, 8]}


def test_with_templates_a_text_is_the_mean_over_them(folder: Path) -> None:
    spec = EncoderSpec(
        modality="text", source="local", model=str(folder / "words"), loader="transformers", pooling="mean"
    )
    manifest = materialise(spec, folder / "made-words-five")
    view = TextView(encoder="words", templates=("{}", "a picture of a {} .", "a drawing of {}"))
    loaded = load_text_encoder(folder / "made-words-five", spec, view, "cpu")
    strings = {"one": "red anchor", "two": "kettle", "three": "blue bridge of a green island", "four": "guitar"}
    rows = TextRows(loaded, view, strings, PARAMS)
    assert [(s.name, s.row_shape) for s in rows.specs] == [("pooled", (16,))]
    arrays, _ = gathered(rows, list(strings))
    for row, text in enumerate(strings.values()):
        filled = [text, f"a picture of a {text} .", f"a drawing of {text}"]
        expected = np.mean([loaded.encode([one])[0].numpy() for one in filled], axis=0)
        np.testing.assert_allclose(arrays["pooled"][row], expected, atol=1e-5)
    plain, averaged = (fingerprint_of(manifest, spec, one) for one in (TextView(encoder="words"), view))
    assert averaged.compared == plain.compared | {"templates": list(view.templates)}
    assert recorded_specs(averaged.as_dict(), "a test")[1].templates == view.templates
