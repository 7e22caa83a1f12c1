"""How a backbone computes: batch size by trial, memory that runs out, autocast, compiled blocks, channels last."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.config import EncodeParams, EncoderSpec, FolderSource, ImageView, TextView
from pipeline.datasets.index import build_index
from pipeline.encoders import precision
from pipeline.encoders.checkpoint import materialise
from pipeline.encoders.image import load_image_encoder
from pipeline.encoders.manifest import read_manifest
from pipeline.encoders.text import load_text_encoder
from pipeline.encoding import batch_size
from pipeline.encoding.batch_size import BATCH_SIZES, find_batch_size
from pipeline.encoding.identity import fingerprint_of
from pipeline.encoding.load import image_rows, text_rows
from pipeline.encoding.preparing import IndexedImages
from pipeline.encoding.rows import ImageRows, TextRows
from pipeline.errors import CheckpointError
from pipeline.inference.recorded import recorded_specs
from pipeline.paths import WORK_VARIABLE
from tests.dag import tiny
from tests.encoders.conftest import picture, spec

EYE = ImageView(encoder="x", resolution=28, tier="cls")
WORDS = TextView(encoder="x")
STRINGS = {"a": "a red anchor", "b": "a picture of a blue bridge .", "c": "green"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root: Path = tmp_path_factory.mktemp("tiny")
    tiny.write_image_checkpoint(root / "eye", 0)
    tiny.write_text_checkpoint(root / "words", 0)
    for modality, name in (("image", "eye"), ("text", "words")):
        materialise(spec(modality, "transformers", str(root / name)), root / f"made-{name}")
    (root / "pictures").mkdir()
    for number in range(3):
        picture(60, 50, number).save(root / "pictures" / f"{number}.png")
    (root / "pictures" / "captions.csv").write_text("file,caption\n" + "".join(f"{n}.png,a {n}\n" for n in range(3)))
    build_index(FolderSource(source="folder", path=str(root / "pictures")), root / "index", root / "w")
    return root


def eye(**options: Any) -> EncoderSpec:
    return spec("image", "transformers", **options)


def words(**options: Any) -> EncoderSpec:
    return spec("text", "transformers", pooling="mean", **options)


class Clock:
    """Seconds that pass only where work is done."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("cost", "expected"),
    [
        (lambda size: 1.0 + 0.001 * size, 64),  # starting a batch is dear
        (lambda size: 0.001 + size, 4),  # a row costs the same in any batch
        (lambda size: 1.0 + 0.2 * size if size <= 16 else 99.0, 16),  # larger ones leave the cache
    ],
)
def test_the_smallest_of_the_fastest_sizes_is_taken(
    cost: Any, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, tried = Clock(), []
    monkeypatch.setenv(WORK_VARIABLE, str(tmp_path))
    monkeypatch.setattr(batch_size, "time", clock)

    def run(size: int) -> None:
        tried.append(size)
        clock.now += cost(size)

    assert find_batch_size({"model": "x"}, "cpu", run) == expected
    tried.clear()
    assert find_batch_size({"model": "x"}, "cpu", run) == expected
    assert not tried, "it is found once"
    find_batch_size({"model": "y"}, "cpu", run)
    assert tried, "another model is another matter"
    assert len(json.loads((tmp_path / BATCH_SIZES).read_text())) == 2


def test_a_size_that_does_not_fit_halves_what_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WORK_VARIABLE, str(tmp_path))
    clock = Clock()
    monkeypatch.setattr(batch_size, "time", clock)

    def run(size: int) -> None:
        if size > 16:
            raise torch.OutOfMemoryError("CUDA out of memory")
        clock.now += 1.0

    assert find_batch_size({"model": "x"}, "cpu", run) == 8
    with pytest.raises(CheckpointError, match="Even a batch of 4 does not fit"):
        find_batch_size({"model": "y"}, "cpu", lambda _size: torch.empty(2**60) and None)


def test_auto_is_resolved_once_and_recorded(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WORK_VARIABLE, str(tmp_path))
    monkeypatch.setattr(batch_size, "_MIN_SECONDS", 0.0)
    params = EncodeParams(batch_size="auto", text_batch_size="auto", workers=1)
    images = image_rows(folder / "made-eye", eye(), EYE, folder / "index", params)
    texts = text_rows(folder / "made-words", words(), WORDS, STRINGS, params)
    assert images.notes["batch_size"] in batch_size._SIZES["cpu"]
    assert texts.notes["batch_size"] in batch_size._SIZES["cpu"]
    monkeypatch.setattr(batch_size, "_fastest", lambda *_: pytest.fail("it is known"))
    again = image_rows(folder / "made-eye", eye(), EYE, folder / "index", params)
    assert again.notes == images.notes
    with pytest.raises(CheckpointError, match="was not resolved"):
        ImageRows(load_image_encoder(folder / "made-eye", eye(), EYE, "cpu"), EYE, lambda _: picture(), params)


def test_a_batch_beyond_the_memory_says_what_to_lower(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = load_image_encoder(folder / "made-eye", eye(), EYE, "cpu")
    rows = ImageRows(encoder, EYE, lambda number: picture(seed=int(number)), EncodeParams(batch_size=2))
    monkeypatch.setattr(encoder, "forward", lambda _: torch.empty(2**60))  # torch's own error
    with pytest.raises(CheckpointError, match=r"batch of 2 images does not fit into memory .* encode.batch_size"):
        list(rows.encode(["0", "1"]))
    text = load_text_encoder(folder / "made-words", words(), WORDS, "cpu")
    monkeypatch.setattr(text, "encode", lambda _: torch.empty(2**60))
    with pytest.raises(CheckpointError, match=r"batch of 3 texts does not fit .* encode.text_batch_size"):
        list(TextRows(text, WORDS, STRINGS, EncodeParams()).encode(list(STRINGS)))


def test_a_model_beyond_the_memory_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(*_args: object, **_options: object) -> None:
        torch.empty(2**60)

    monkeypatch.setattr("transformers.Dinov2Model.from_pretrained", too_large)
    with pytest.raises(CheckpointError, match=r"made-eye .* does not fit into memory .* smaller model"):
        load_image_encoder(folder / "made-eye", eye(), EYE, "cpu")


def test_other_errors_stay_what_they_are(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = load_image_encoder(folder / "made-eye", eye(), EYE, "cpu")
    rows = ImageRows(encoder, EYE, lambda _number: picture(), EncodeParams(batch_size=2))

    def broken(_pixels: torch.Tensor) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(encoder, "forward", broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        list(rows.encode(["0"]))


@pytest.mark.parametrize("kind", ["bfloat16", "float16"])
def test_autocast_multiplies_short_and_keeps_weights_long(folder: Path, kind: str) -> None:
    exact = load_image_encoder(folder / "made-eye", eye(), EYE, "cpu")
    mixed = load_image_encoder(folder / "made-eye", eye(autocast=kind), EYE, "cpu")
    assert {weight.dtype for weight in mixed._tower.backbone.parameters()} == {torch.float32}
    pixels = exact.preprocess(picture())[None]
    found, expected = mixed.forward(pixels).cls, exact.forward(pixels).cls
    with torch.autocast("cpu", dtype=getattr(torch, kind)), torch.inference_mode():
        own = mixed._tower.backbone(pixel_values=pixels).last_hidden_state[:, 0]
    assert found.dtype == torch.float32
    torch.testing.assert_close(found[:, 0], own.float())
    assert not torch.equal(found, expected)
    torch.testing.assert_close(found, expected, rtol=0.1, atol=0.1)
    texts = load_text_encoder(folder / "made-words", words(autocast=kind), WORDS, "cpu").encode(["a red anchor"])
    plain = load_text_encoder(folder / "made-words", words(), WORDS, "cpu").encode(["a red anchor"])
    assert not torch.equal(texts, plain)
    torch.testing.assert_close(texts, plain, rtol=0.1, atol=0.1)


def test_autocast_and_prompts_enter_the_fingerprint_only_where_they_are_set(folder: Path) -> None:
    manifest = read_manifest(folder / "made-words")
    plain = fingerprint_of(manifest, words(), WORDS)
    assert not {"autocast", "prompt"} & plain.compared.keys()
    mixed = fingerprint_of(manifest, words(autocast="bfloat16"), WORDS)
    assert mixed.compared == plain.compared | {"autocast": "bfloat16"}
    again, _ = recorded_specs(mixed.as_dict(), "here")
    assert (again.autocast, again.prompt) == ("bfloat16", None)
    named = spec("text", "sentence-transformers", pooling="model", prompt="query")
    prompted = fingerprint_of(manifest, named, WORDS)
    assert prompted.compared["prompt"] == "query"
    assert recorded_specs(prompted.as_dict(), "here")[0].prompt == "query"
    whole = fingerprint_of(manifest, eye(), EYE.model_copy(update={"fit": "whole"}))
    assert recorded_specs(whole.as_dict(), "here")[1].fit == "whole"


def test_blocks_are_compiled_in_place_and_give_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[dict[str, Any]] = []

    def spy(function: Any, **options: Any) -> Any:
        compiled.append(options)
        return torch._dynamo.optimize("eager")(function)  # traced, but not given to a C++ compiler

    monkeypatch.setattr(precision.torch, "compile", spy)
    params = EncodeParams(compile=True, channels_last=True, workers=1)
    images = image_rows(folder / "made-eye", eye(layers=[1, 2]), EYE, folder / "index", params)
    assert compiled == [{"dynamic": None}] * 2, "its two blocks"
    assert (images.notes["compile"], images.notes["channels_last"]) == (True, True)
    plain = image_rows(folder / "made-eye", eye(layers=[1, 2]), EYE, folder / "index", EncodeParams(workers=1))
    assert not {"compile", "channels_last"} & plain.notes.keys()
    ids = [str(i) for i in range(3)]
    monkeypatch.setattr(IndexedImages, "__call__", lambda _self, number: picture(seed=int(number)))
    for found, expected in zip(images.encode(ids), plain.encode(ids), strict=True):
        np.testing.assert_allclose(found.arrays["cls"], expected.arrays["cls"], atol=1e-4)
    compiled.clear()
    texts = text_rows(folder / "made-words", words(), WORDS, STRINGS, params)
    assert compiled == [{"dynamic": True}] * 2
    (batch,) = texts.encode(list(STRINGS))
    (other,) = text_rows(folder / "made-words", words(), WORDS, STRINGS, EncodeParams(workers=1)).encode(list(STRINGS))
    np.testing.assert_allclose(batch.arrays["pooled"], other.arrays["pooled"], atol=1e-4)


def test_a_model_without_repeated_blocks_is_compiled_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    compiled: list[Any] = []
    monkeypatch.setattr(precision.torch, "compile", lambda function, **_: compiled.append(function) or function)
    assert precision.compile_blocks(torch.nn.Linear(2, 2), varying_length=False) == 0
    assert len(compiled) == 1
    assert precision.compile_blocks(timm.create_model("test_vit"), varying_length=False) == 6


def test_channels_last_is_the_layout_of_images_and_convolutions(folder: Path) -> None:
    encoder = load_image_encoder(folder / "made-eye", eye(), EYE, "cpu")
    pixels = torch.stack([encoder.preprocess(picture(seed=seed)) for seed in range(2)])
    before = encoder.forward(pixels).cls
    encoder.optimise(compiled=False, channels_last=True)
    kernels = [weight for weight in encoder._tower.backbone.parameters() if weight.ndim == 4]
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in kernels)
    torch.testing.assert_close(encoder.forward(pixels).cls, before, rtol=1e-4, atol=1e-5)
