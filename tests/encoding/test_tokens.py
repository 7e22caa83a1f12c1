"""Tokens of real (tiny) text encoders: the last hidden state of every token, and of nothing else."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from pipeline.config import EncodeParams, EncoderSpec, TextView
from pipeline.encoders.checkpoint import materialise
from pipeline.encoders.manifest import read_manifest
from pipeline.encoders.text import load_text_encoder
from pipeline.encoders.text_encoder import TextBatch, TextEncoder, TokenFeatures
from pipeline.encoding.identity import fingerprint_of
from pipeline.encoding.plan import Plan
from pipeline.encoding.rows import NOT_FINITE, TextRows
from pipeline.encoding.run import StoreEncoder
from pipeline.features import FeatureStore
from pipeline.features.verify import verify
from pipeline.paths import WORK_VARIABLE
from tests.dag import tiny

PARAMS = EncodeParams(text_batch_size=3)
VIEW = TextView(encoder="words", tier="full")
STRINGS = {"a": "a picture of a red anchor .", "b": "red", "c": "a blue bridge", "d": "green", "e": "a red guitar"}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root: Path = tmp_path_factory.mktemp("words")
    tiny.write_text_checkpoint(root / "words", 0)
    materialise(spec(root / "words"), root / "made")
    return root / "made"


def spec(folder: Path, loader: str = "transformers", pooling: str = "mean") -> EncoderSpec:
    return EncoderSpec(modality="text", source="local", model=str(folder), loader=loader, pooling=pooling, prefix="a ")  # type: ignore[arg-type]


def gathered(encoder: TextEncoder) -> dict[str, tuple[np.ndarray, np.ndarray, str | None]]:
    """Per id: pooled, tokens, reason."""
    found, ids = {}, list(STRINGS)
    for batch in TextRows(encoder, VIEW, STRINGS, PARAMS).encode(ids):
        pieces = np.split(batch.arrays["tokens"], np.cumsum(batch.arrays["tokens_length"])[:-1])
        for place, position in enumerate(batch.positions):
            found[ids[position]] = (batch.arrays["pooled"][place], pieces[place], batch.reasons[place])
    return found


def test_tokens_are_those_of_transformers_one_text_at_a_time(checkpoint: Path) -> None:
    encoder = load_text_encoder(checkpoint, spec(checkpoint), VIEW, "cpu")
    model, tokenizer = AutoModel.from_pretrained(checkpoint).eval(), AutoTokenizer.from_pretrained(checkpoint)
    rows = TextRows(encoder, VIEW, STRINGS, PARAMS)
    assert [s.name for s in rows.specs] == ["pooled", "tokens"]
    for identifier, (pooled, tokens, reason) in gathered(encoder).items():
        with torch.inference_mode():
            batch = tokenizer(["a " + STRINGS[identifier]], return_tensors="pt")
            expected = model(**batch).last_hidden_state[0].numpy()
        assert reason is None
        assert tokens.shape == expected.shape == (rows.tokens([identifier])[0], encoder.token_width)
        np.testing.assert_allclose(tokens, expected, atol=1e-5)
        np.testing.assert_allclose(pooled, expected.mean(axis=0), atol=1e-5)


def test_nan_in_a_token_is_a_failed_text(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = load_text_encoder(checkpoint, spec(checkpoint), VIEW, "cpu")
    real, prepare = encoder.encode_tokens, encoder.prepare
    prepared: list[tuple[TextBatch, list[str]]] = []

    def noted(texts: list[str], max_tokens: int | None = None) -> TextBatch:
        prepared.append((prepare(texts, max_tokens), texts))
        return prepared[-1][0]

    def poisoned(given: TextBatch) -> TokenFeatures:
        features = real(given)
        tokens = features.tokens.clone()
        (texts,) = (texts for batch, texts in prepared if batch is given)
        if "a blue bridge" in texts:
            tokens[texts.index("a blue bridge"), 1, 2] = torch.nan
        tokens[~features.mask] = torch.inf
        return TokenFeatures(features.pooled, tokens, features.mask)

    monkeypatch.setattr(encoder, "prepare", noted)
    monkeypatch.setattr(encoder, "encode_tokens", poisoned)
    reasons = {identifier: reason for identifier, (_, _, reason) in gathered(encoder).items()}
    assert reasons == {"a": None, "b": None, "c": NOT_FINITE, "d": None, "e": None}


def test_only_kept_tokens_enter_the_fingerprint(checkpoint: Path) -> None:
    manifest, encoder = read_manifest(checkpoint), spec(checkpoint)
    plain = fingerprint_of(manifest, encoder, TextView(encoder="words"))
    assert "tokens" not in plain.compared
    assert fingerprint_of(manifest, encoder, VIEW).digest != plain.digest


@pytest.mark.parametrize(
    "view",
    [
        TextView(encoder="words"),
        TextView(encoder="words", tier="full"),
        TextView(encoder="words", tier="full", dtype="int8"),
        TextView(encoder="words", truncations=(4, 8), chunk_tokens=6),
    ],
)
def test_no_text_at_all_makes_an_empty_store(
    view: TextView, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WORK_VARIABLE, str(tmp_path / "work"))

    def load() -> TextRows:
        return TextRows(load_text_encoder(checkpoint, spec(checkpoint), view, "cpu"), view, {}, PARAMS)

    fingerprint = fingerprint_of(read_manifest(checkpoint), spec(checkpoint), view)
    for _ in range(2):  # the second time nothing is loaded
        assert StoreEncoder("words", fingerprint, load, 0.0).run(Plan((), 8), tmp_path / "store").rows == 0
    store = FeatureStore.open(tmp_path / "store")
    assert len(store) == 0
    assert store.read("pooled", []).shape == (0, 16)
    assert store.servable([]).shape == (0,)
    assert verify(tmp_path / "store").damages == ()
