"""Folders of sentence-transformers beyond a transformer with pooling, against the library's own `encode`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize, Router, Transformer
from sentence_transformers.sentence_transformer.modules import BoW, Pooling, StaticEmbedding
from transformers import ViTConfig, ViTImageProcessor, ViTModel

from pipeline.config import EncodeParams, TextView
from pipeline.encoders.checkpoint import materialise
from pipeline.encoders.sentence_input import SentenceInput
from pipeline.encoders.text import load_text_encoder
from pipeline.encoding.rows import NO_TOKENS, TextRows
from pipeline.errors import CheckpointError
from tests.encoders import dual_models
from tests.encoders.conftest import spec
from tests.encoders.dual_models import TEXTS
from tests.encoders.tiny_models import _bert, words


def _transformer(folder: Path) -> Transformer:
    plain = folder.with_name(folder.name + "-plain")
    torch.manual_seed(0)
    dual_models._spread(_bert()).save_pretrained(plain)
    words().save_pretrained(plain)
    return Transformer(str(plain), max_seq_length=14)


def _static() -> StaticEmbedding:
    torch.manual_seed(0)
    return StaticEmbedding(words(), embedding_dim=8)


def truncated(folder: Path) -> SentenceTransformer:
    return SentenceTransformer(modules=[_transformer(folder), Pooling(16)], device="cpu", truncate_dim=5)


def truncated_static(_: Path) -> SentenceTransformer:
    return SentenceTransformer(modules=[_static(), Normalize()], device="cpu", truncate_dim=3)


def static(_: Path) -> SentenceTransformer:
    return SentenceTransformer(modules=[_static()], device="cpu")


def dense(folder: Path) -> SentenceTransformer:
    torch.manual_seed(0)
    return SentenceTransformer(modules=[_transformer(folder), Pooling(16), Dense(16, 6)], device="cpu", truncate_dim=4)


def router(folder: Path) -> SentenceTransformer:
    routes = Router.for_query_document([_static(), Dense(8, 16)], [_transformer(folder), Pooling(16)])
    return SentenceTransformer(modules=[routes, Normalize()], device="cpu")


def router_static(folder: Path) -> SentenceTransformer:
    other = [_transformer(folder), Pooling(16), Dense(16, 8)]
    routes = Router.for_query_document([_static()], other, default_route="query")
    return SentenceTransformer(modules=[routes], device="cpu")


def clip(folder: Path) -> SentenceTransformer:
    plain = dual_models.transformers_folder(folder.with_name(folder.name + "-plain"), "clip")
    return SentenceTransformer(modules=[Transformer(str(plain))], device="cpu")


def router_of_one_text_route(folder: Path) -> SentenceTransformer:
    """Of whose routes one takes texts, without a default."""
    plain = folder.with_name(folder.name + "-pictures")
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    ViTModel(ViTConfig(image_size=16, patch_size=8, **sizes)).save_pretrained(plain)
    ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(plain)
    routes = {"pictures": [Transformer(str(plain))], "words": [_static()]}
    return SentenceTransformer(modules=[Router(routes, default_route=None, allow_empty_key=False)], device="cpu")


FOLDERS: dict[str, Callable[[Path], Any]] = {
    made.__name__: made for made in (truncated, truncated_static, static, dense, router, router_static, clip)
}


def saved(name: str, tmp_path: Path) -> Path:
    FOLDERS[name](tmp_path / name).save_pretrained(str(tmp_path / name))
    materialise(entry(tmp_path / name), tmp_path / "made")
    return tmp_path / name


def entry(folder: Path) -> Any:
    return spec("text", "sentence-transformers", str(folder), pooling="model")


@pytest.mark.parametrize("name", FOLDERS)
def test_features_are_those_of_encode(name: str, tmp_path: Path) -> None:
    folder = saved(name, tmp_path)
    encoder = load_text_encoder(tmp_path / "made", entry(folder), TextView(encoder="x"), "cpu")
    expected = SentenceTransformer(str(folder), device="cpu").encode(list(TEXTS))
    assert expected.shape == (len(TEXTS), encoder.width)
    np.testing.assert_allclose(encoder.encode(list(TEXTS)).numpy(), expected, atol=1e-5)
    rows = TextRows(encoder, TextView(encoder="x"), dict(enumerate(TEXTS)), EncodeParams(workers=0))  # type: ignore[arg-type]
    (batch,) = rows.encode(list(range(len(TEXTS))))  # type: ignore[arg-type]
    np.testing.assert_allclose(batch.arrays["pooled"], expected[batch.positions], atol=1e-5)


def test_the_only_route_for_texts_is_taken(tmp_path: Path) -> None:
    folder = tmp_path / "routes"
    router_of_one_text_route(folder).save_pretrained(str(folder))
    materialise(entry(folder), tmp_path / "made")
    encoder = load_text_encoder(tmp_path / "made", entry(folder), TextView(encoder="x"), "cpu")
    model = SentenceTransformer(str(folder), device="cpu")
    with pytest.raises(ValueError, match="Could not determine route"):
        model.encode(list(TEXTS))
    model[0].default_route = "words"
    np.testing.assert_allclose(encoder.encode(list(TEXTS)).numpy(), model.encode(list(TEXTS)), atol=1e-6)


def test_a_static_embedding_reads_whole_texts_and_needs_tokens(tmp_path: Path) -> None:
    folder = saved("static", tmp_path)
    encoder = load_text_encoder(tmp_path / "made", entry(folder), TextView(encoder="x"), "cpu")
    assert encoder.lengths(["", "a red kite"]) == [0, 3]
    rows = TextRows(encoder, TextView(encoder="x"), {"a": "", "b": "cats"}, EncodeParams(workers=0))
    (batch,) = rows.encode(["a", "b"])
    assert dict(zip(batch.positions, batch.reasons, strict=True)) == {0: NO_TOKENS, 1: None}
    for view, message in (
        (TextView(encoder="x", max_tokens=8), "whole texts"),
        (TextView(encoder="x", tier="full"), "token"),
    ):
        with pytest.raises(CheckpointError, match=message):
            load_text_encoder(tmp_path / "made", entry(folder), view, "cpu")


def test_tokens_of_a_truncated_folder_keep_their_width(tmp_path: Path) -> None:
    folder = saved("truncated", tmp_path)
    encoder = load_text_encoder(tmp_path / "made", entry(folder), TextView(encoder="x", tier="full"), "cpu")
    found = encoder.encode_tokens(["a red kite"])
    assert (encoder.width, found.pooled.shape[1], encoder.token_width, found.tokens.shape[2]) == (5, 5, 16, 16)


def test_other_folders_are_named(tmp_path: Path) -> None:
    routes = Router({"one": [_static()], "two": [_static()]}, default_route=None, allow_empty_key=False)
    SentenceTransformer(modules=[routes], device="cpu").save_pretrained(str(tmp_path / "routes"))
    with pytest.raises(CheckpointError, match="several routes for texts .one, two."):
        materialise(entry(tmp_path / "routes"), tmp_path / "x")
    bow = SentenceTransformer(modules=[BoW(vocab=["a", "cat"])], device="cpu")
    with pytest.raises(CheckpointError, match="here: its first module is a BoW; .* are supported"):
        SentenceInput(bow, "here")


def without(name: str, tmp_path: Path) -> Path:
    """A folder with those weights left out whose name has `name` in it."""
    folder = tmp_path / "truncated"
    FOLDERS["truncated"](folder).save_pretrained(str(folder))
    file = next(folder.rglob("model.safetensors"))
    weights = load_file(file)
    kept = {key: value for key, value in weights.items() if name not in key}
    assert len(kept) < len(weights)
    save_file(kept, file, {"format": "pt"})
    return folder


def test_a_pooler_that_nothing_uses_may_lack_and_nothing_is_said(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    folder = without("pooler", tmp_path)
    capfd.readouterr()
    caplog.clear()
    materialise(entry(folder), tmp_path / "made")
    load_text_encoder(tmp_path / "made", entry(folder), TextView(encoder="x"), "cpu")
    said = "".join(capfd.readouterr()) + caplog.text
    assert "newly initialized" not in said
    assert "Loading weights" not in said


def test_weights_that_lack_are_an_error_not_a_report(tmp_path: Path) -> None:
    folder = without("layer.0.attention", tmp_path)
    with pytest.raises(CheckpointError, match=r"lacks weights that its architecture has: .*layer\.0\.attention"):
        materialise(entry(folder), tmp_path / "made")
        load_text_encoder(tmp_path / "made", entry(folder), TextView(encoder="x"), "cpu")
