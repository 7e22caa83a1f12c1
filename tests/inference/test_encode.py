"""`encode` as users of sentence-transformers type it: what goes in, in which order, and in which form it comes out."""

import base64
import functools
import http.server
import io
import itertools
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline import Aligner
from pipeline.errors import ConfigError, DataError
from pipeline.inference.pixels import picture_of
from pipeline.torchvision_fix import ensure_torchvision
from tests.inference.conftest import WORDS, Project, aligner

TEXTS = ["a picture of a guitar", "an anchor", "two hammers on a bridge, seen from above"]


@pytest.fixture(scope="module")
def model(project: Project) -> Aligner:
    return aligner(project)


@pytest.fixture(scope="module")
def picture(project: Project) -> Image.Image:
    return Image.open(project.pictures[3]).convert("RGB")


def test_one_input_gives_a_vector_and_a_list_a_matrix_in_order(model: Aligner, project: Project) -> None:
    one = model.encode("a picture of a guitar")
    assert (one.shape, one.dtype) == ((12,), np.float32)
    np.testing.assert_array_equal(one, model.encode_text("a picture of a guitar")[0])
    paths = [str(path) for path in project.pictures[:3]]
    mixed = [TEXTS[0], paths[0], {"text": TEXTS[1]}, Path(paths[1]), {"image": paths[2]}, TEXTS[2]]
    found = model.encode(mixed, batch_size=2)
    np.testing.assert_allclose(found[[0, 2, 5]], model.encode_text(TEXTS), atol=2e-3)
    np.testing.assert_allclose(found[[1, 3, 4]], model.encode_image(paths), atol=2e-3)
    gaps = np.linalg.norm(found[:, None] - found[None], axis=2)[~np.eye(6, dtype=bool)]
    assert gaps.min() > 0.02
    assert model.encode(tuple(TEXTS)).shape == (3, 12)
    assert model.encode(np.array(TEXTS)).shape == (3, 12)
    assert model.encode([]).shape == (0, 12)
    assert model.encode([], convert_to_tensor=True).shape == (0, 12)


FORMS: dict[str, Callable[[Image.Image], Any]] = {
    "array": np.asarray,
    "array, channels first": lambda p: np.moveaxis(np.asarray(p), -1, 0),
    "floats": lambda p: np.asarray(p) / 255,
    "float16": lambda p: (np.asarray(p) / 255).astype(np.float16),
    "tensor": lambda p: torch.from_numpy(np.asarray(p).copy()).permute(2, 0, 1),
    "tensor, channels last": lambda p: torch.from_numpy(np.asarray(p).copy()),
    "float tensor": lambda p: torch.from_numpy(np.asarray(p) / 255).permute(2, 0, 1).float(),
    "RGBA": lambda p: np.asarray(p.convert("RGBA")),
    "bytes": lambda p: png(p),
    "bytearray": lambda p: bytearray(png(p)),
    "data URI": lambda p: "data:image/png;base64," + base64.b64encode(png(p)).decode(),
}


def png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_picture_is_the_same_picture(model: Aligner, picture: Image.Image, form: str) -> None:
    expected = model.encode(picture)
    given = FORMS[form](picture)
    found = model.encode(given)
    assert found.shape == (12,)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(model.encode_image(given), expected[None], atol=1e-6)


def test_grey_several_and_ambiguous_arrays(model: Aligner, picture: Image.Image) -> None:
    grey = np.asarray(picture.convert("L"))
    np.testing.assert_array_equal(model.encode_image(grey), model.encode_image(picture.convert("L")))
    np.testing.assert_array_equal(model.encode(grey[None]), model.encode(picture.convert("L")))
    stack = np.stack([np.asarray(picture), 255 - np.asarray(picture)])
    found = model.encode(stack)
    assert found.shape == (2, 12)
    np.testing.assert_allclose(found[0], model.encode(picture), atol=2e-3)
    assert np.abs(found[0] - found[1]).max() > 0.01
    assert model.encode(torch.from_numpy(stack).permute(0, 3, 1, 2)).shape == (2, 12)
    ambiguous = np.zeros((3, 5, 3), dtype=np.uint8)
    ambiguous[..., 0] = 255  # red, with channels last
    assert picture_of(ambiguous).getpixel((0, 0)) == (255, 0, 0)
    assert picture_of(torch.from_numpy(ambiguous)).size == (3, 5), "a tensor's first axis is the channels"
    mask = np.eye(4, dtype=bool)
    assert np.asarray(picture_of(mask)).tolist() == (np.eye(4) * 255).tolist()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((5, 6, 7), np.uint8), r"1 to 4 channels, found uint8 of shape \(5, 6, 7\)"),
        (np.zeros((0, 4, 3), np.uint8), r"found uint8 of shape \(0, 4, 3\)"),
        (np.full((4, 4, 3), 255.0), "from 0 to 1, found 255 to 255"),
        (np.full((4, 4, 3), np.nan), "found nan to nan"),
        (torch.full((3, 4, 4), -0.5), "found -0.5 to -0.5"),
        (np.zeros((4, 4, 3), np.int64), "uint8 .* or of floats .*, found int64"),
        (np.zeros((4, 4, 3), np.uint16), "found uint16"),
        (np.zeros(7), "an array of 1 axes"),
        ([TEXTS[0], 7], "Input 1: expected a text or a picture, found int"),
        ([("a", "b")], "Input 0: .*found tuple"),
        ([{"text": "a", "image": "b.png"}], "add their vectors"),
        ([{"audio": "a"}], "takes images and texts; it has no encoder of sounds"),
        ([{"video": "a"}], "a dict with 'video'"),
        ([{}], "a dict with nothing"),
        ([{"text": 3}], "Text 0: expected a string, found int"),
        (["a", "\ud800"], "Text 1: .* no valid Unicode"),
        ("data:image/png;base64,@@", "no valid base64"),
        (["a", "https://example.org/cat.JPG?x=1"], "Input 1 is the address of a picture.*urls=True"),
        (7, "one or many, found int"),
    ],
)
def test_what_is_neither_text_nor_picture(model: Aligner, given: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        model.encode(given)


def test_strings_are_texts_unless_they_are_files_and_modality_leaves_nothing_to_guess(
    model: Aligner, project: Project
) -> None:
    path = str(project.pictures[0])
    as_picture, as_text = model.encode(path), model.encode(path, modality="text")
    assert np.abs(as_picture - as_text).max() > 0.01
    np.testing.assert_array_equal(as_text, model.encode({"text": path}))
    for text in ("nowhere.png", "https://example.org/about", "see https://example.org/cat.png", "x" * 5000 + ".png"):
        np.testing.assert_array_equal(model.encode(text), model.encode_text(text)[0])
    np.testing.assert_array_equal(
        model.encode("https://example.org/cat.png", modality="text"),
        model.encode_text("https://example.org/cat.png")[0],
    )
    with pytest.raises(DataError, match="modality must be one of"):
        model.encode("a", modality="video")
    with pytest.raises(DataError, match="takes images and texts; it has no encoder of sounds"):
        model.encode("a", modality="audio")


def test_addresses_are_fetched_only_when_asked_for(model: Aligner, project: Project) -> None:
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=project.root / "pictures")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/{WORDS[2]}.png"
        try:
            with pytest.raises(DataError, match="Pass urls=True"):
                model.encode_image(address)
            found = model.encode([address, address], urls=True)
            assert found.shape == (2, 12)
            np.testing.assert_allclose(found[0], model.encode(project.pictures[2]), atol=2e-3)
            with pytest.raises(DataError, match=r"cannot be fetched: HTTP Error 404"):
                model.encode_image(address + ".png", urls=True)
        finally:
            server.shutdown()


def test_generators_stream_window_by_window(model: Aligner) -> None:
    taken: list[int] = []

    def texts() -> Iterator[str]:
        for number in range(7):
            taken.append(number)
            yield TEXTS[number % 3]

    held: list[int] = []
    embed = model.embed_sentences

    def spy(given: list[str], batch_size: int) -> np.ndarray:
        held.append(len(taken))
        return embed(given, batch_size)

    model.embed_sentences = spy  # type: ignore[method-assign]
    try:
        found = model.encode(texts(), chunk_size=3)
    finally:
        del model.embed_sentences  # type: ignore[method-assign]
    assert held == [3, 6, 7]
    np.testing.assert_allclose(found, model.encode([TEXTS[n % 3] for n in range(7)]), atol=2e-3)


def test_the_place_of_a_broken_input_counts_over_all_windows(model: Aligner, project: Project) -> None:
    inputs = [TEXTS[0], *project.pictures[:4], TEXTS[1], Path(__file__)]
    with pytest.raises(DataError, match="Image 6 cannot be encoded: .*not an image"):
        model.encode(inputs, chunk_size=2)


def test_forms_of_the_answer(model: Aligner) -> None:
    array = model.encode(TEXTS)
    tensor = model.encode(TEXTS, convert_to_tensor=True)
    assert isinstance(tensor, torch.Tensor)
    np.testing.assert_array_equal(tensor.numpy(), array)
    listed = model.encode(TEXTS, convert_to_numpy=False)
    assert [type(row) for row in listed] == [torch.Tensor] * 3
    np.testing.assert_array_equal(torch.stack(listed).numpy(), array)
    assert isinstance(model.encode(TEXTS[0], convert_to_numpy=False), torch.Tensor)
    np.testing.assert_array_equal(model.encode(TEXTS, truncate_dim=5), array[:, :5])
    unit = model.encode(TEXTS, truncate_dim=5, normalize_embeddings=True)
    np.testing.assert_allclose(unit, array[:, :5] / np.linalg.norm(array[:, :5], axis=1, keepdims=True), atol=1e-6)
    with model.truncate_embeddings(4):
        assert model.encode(TEXTS[0]).shape == (4,)
        assert model.get_embedding_dimension() == model.get_sentence_embedding_dimension() == 4
        assert model.encode(TEXTS, truncate_dim=6).shape == (3, 6)
    assert (model.truncate_dim, model.get_embedding_dimension()) == (None, 12)
    assert model.encode_image(np.zeros((9, 9, 3), np.uint8), truncate_dim=3).shape == (1, 3)
    assert model.encode_text("a", convert_to_tensor=True).shape == (1, 12)


@pytest.mark.parametrize("precision", ["int8", "uint8", "binary", "ubinary"])
def test_precisions_are_those_of_sentence_transformers(model: Aligner, precision: Any) -> None:
    ensure_torchvision()
    from sentence_transformers.util import quantize_embeddings

    texts = [f"{word} number {n}" for word, n in itertools.product(WORDS, range(11))]
    found = model.encode(texts, precision=precision)
    expected = quantize_embeddings(model.encode(texts), precision=precision)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


def test_prompts_stand_before_texts(model: Aligner, picture: Image.Image) -> None:
    model.prompts = {"query": "find: ", "passage": "seen: "}
    try:
        np.testing.assert_array_equal(model.encode_query("cat"), model.encode("find: cat"))
        np.testing.assert_array_equal(model.encode_document("cat"), model.encode("seen: cat"))
        np.testing.assert_array_equal(model.encode_query("cat", prompt="x "), model.encode("x cat"))
        np.testing.assert_array_equal(model.encode_document("cat", "query"), model.encode("find: cat"))
        np.testing.assert_array_equal(model.encode_query(picture), model.encode(picture))
        model.default_prompt_name = "query"
        np.testing.assert_array_equal(model.encode("cat"), model.encode("find: cat", prompt=""))
        with pytest.raises(DataError, match="no prompt 'other'; `prompts` has: query, passage"):
            model.encode("cat", prompt_name="other")
    finally:
        model.prompts, model.default_prompt_name = {}, None
    np.testing.assert_array_equal(model.encode_query("cat"), model.encode_document("cat"))


def test_several_devices_share_the_inputs_in_order(model: Aligner, project: Project) -> None:
    inputs = [item for n, path in enumerate(project.pictures) for item in (path, f"{n} {TEXTS[n % 3]}")]
    found = model.encode(inputs, device=["cpu", "cpu"], chunk_size=3)
    np.testing.assert_allclose(found, model.encode(inputs), atol=2e-3)
    assert model.encode(inputs[:2], device="cpu").shape == (2, 12)
    with pytest.raises(DataError, match="Image 4 cannot"):
        model.encode([*project.pictures[:4], Path(__file__)], device=["cpu", torch.device("cpu")], chunk_size=1)
    with pytest.raises(ConfigError, match="cannot be used here"):
        model.encode("a", device="cuda:99")


def test_a_bar_is_shown_only_where_wanted(model: Aligner, capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("pipeline.inference")
    before = logger.level
    try:
        logger.setLevel(logging.WARNING)
        model.encode(TEXTS)
        assert "encode:" not in capsys.readouterr().err
        model.encode(TEXTS, show_progress_bar=True)
        assert "encode:" in capsys.readouterr().err
        logger.setLevel(logging.INFO)
        model.encode(TEXTS)
        assert "encode:" in capsys.readouterr().err
    finally:
        logger.setLevel(before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"truncate_dim": 0}, "truncate_dim must be at least 1"),
        ({"chunk_size": 1.5}, "whole number"),
        ({"precision": "int4"}, "precision must be one of float32, int8"),
        ({"output_value": "token_embeddings"}, "one vector per input"),
        ({"output_value": None}, "one vector per input"),
        ({"pool": {}}, "pass several devices"),
        ({"task": "classification"}, "task must be query or document"),
    ],
)
def test_arguments_that_make_no_sense(model: Aligner, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        model.encode("a", **options)


def test_similarities_are_cosines(model: Aligner) -> None:
    a, b = model.encode(TEXTS), model.encode_image(np.zeros((2, 9, 9, 3), np.uint8))
    found = model.similarity(a, torch.from_numpy(b))
    np.testing.assert_allclose(found.numpy(), a @ b.T, atol=1e-6)
    np.testing.assert_allclose(model.similarity(a[0], list(b)).numpy(), (a[:1] @ b.T), atol=1e-6)
    np.testing.assert_allclose(model.similarity_pairwise(a[:2], 3 * b).numpy(), (a[:2] * b).sum(1), atol=1e-6)
    assert model.similarity(a.astype(np.float16), a).diag().min() > 0.999


def test_half_and_devices_change_where_and_in_what_it_computes(project: Project) -> None:
    model = aligner(project)
    exact = model.encode(TEXTS), model.encode_image(project.pictures)
    assert (model.device, model.dtype) == (torch.device("cpu"), torch.float32)
    assert model.bfloat16() is model
    assert model.dtype == torch.bfloat16
    coarse = model.encode(TEXTS), model.encode_image(project.pictures)
    for one, other in zip(coarse, exact, strict=True):
        assert 0 < np.abs(one - other).max() < 0.1
    again = model.to("cpu", torch.float32).cpu().float()
    np.testing.assert_array_equal(again.encode(TEXTS), exact[0])
    loaded = Aligner.from_pretrained(project.model("grid"), device_map={"": "cpu"}, dtype=torch.bfloat16)
    np.testing.assert_array_equal(loaded.encode(TEXTS), coarse[0])
    assert loaded.half().dtype == torch.float16
    assert model.max_seq_length == model.get_max_seq_length() > 8
    with pytest.raises(DataError, match="found torch.int8"):
        model.to(torch.int8)
    with pytest.raises(DataError, match="found Tensor"):
        model.to(torch.zeros(1))
    with pytest.raises(DataError, match="device_map of one device"):
        aligner(project, device_map={"a": "cpu", "b": "cuda"})  # type: ignore[arg-type]


def test_their_evaluators_run_on_an_aligner(model: Aligner) -> None:
    ensure_torchvision()
    from sentence_transformers.sentence_transformer.evaluation import (
        EmbeddingSimilarityEvaluator,
        InformationRetrievalEvaluator,
    )

    texts = [f"a picture of a {word}" for word in WORDS]
    pairs = EmbeddingSimilarityEvaluator(texts[:5], texts[5:], [0.1, 0.2, 0.3, 0.4, 0.5])
    assert set(model.evaluate(pairs)) == {"pearson_cosine", "spearman_cosine"}
    ids = dict(zip(WORDS, texts, strict=True))
    found = model.evaluate(InformationRetrievalEvaluator(ids, ids, {word: {word} for word in WORDS}))
    assert found["cosine_accuracy@1"] == 1
