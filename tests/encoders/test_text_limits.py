"""How many tokens a family takes, against its own model; texts that have none."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf

from pipeline.config import EncodeParams, TextView
from pipeline.encoders.checkpoint import materialise
from pipeline.encoders.text import load_text_encoder
from pipeline.encoders.text_limits import positions
from pipeline.encoding.rows import NO_TOKENS, TextRows
from tests.encoders.conftest import spec
from tests.encoders.tiny_models import TINY, words

BODY = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 40}
OWN: dict[str, dict[str, Any]] = {
    "Longformer": {"attention_window": 4},
    "Luke": {"entity_vocab_size": 10, "entity_emb_size": 8},
    "Xmod": {"default_language": "en_XX"},
    "Esm": {"mask_token_id": 4, "position_embedding_type": "absolute"},
}
FAMILIES = "Roberta RobertaPreLayerNorm IBert Esm Luke Xmod MPNet Longformer MarkupLM ClapText Bert Nystromformer"


@pytest.mark.parametrize("pad", [0, 1])
@pytest.mark.parametrize("family", FAMILIES.split())
def test_the_longest_text_passes_and_a_longer_one_does_not(family: str, pad: int) -> None:
    options = BODY | {"max_position_embeddings": 20, "pad_token_id": pad} | OWN.get(family, {})
    config = getattr(hf, f"{family}Config")(**options)
    model, most = getattr(hf, f"{family}Model")(config).eval(), positions(config)
    assert most is not None

    def run(tokens: int) -> None:
        with torch.inference_mode():
            model(input_ids=torch.full((1, tokens), 5), attention_mask=torch.ones(1, tokens, dtype=torch.long))

    run(most)
    with pytest.raises((IndexError, RuntimeError)):
        run(most + 1)


def test_a_family_without_a_limit_has_none() -> None:
    assert positions(hf.XLNetConfig(d_model=16, n_layer=1, n_head=2, d_inner=16)) is None
    assert positions(hf.EsmConfig(max_position_embeddings=20, pad_token_id=1, position_embedding_type="rotary")) == 20


TEXTS = ["", "a cat", "", "a red dog", "a cat on a mat"]


def encoder_of(name: str, folder: Path, pooling: str) -> Any:
    TINY[name].make(folder / "origin")
    entry = spec("text", "transformers", str(folder / "origin"), pooling=pooling)
    materialise(entry, folder / "made")
    return load_text_encoder(folder / "made", entry, TextView(encoder="x"), "cpu")


@pytest.mark.parametrize(("name", "pooling"), [("llm", "last"), ("llm-mean", "mean")])
@pytest.mark.parametrize("tier", ["pooled", "full"])
def test_a_text_without_tokens_is_a_row_with_a_reason(name: str, pooling: str, tier: str, tmp_path: Path) -> None:
    encoder = encoder_of(name, tmp_path, pooling)
    assert encoder.lengths(TEXTS) == [0, 2, 0, 3, 5]
    rows = TextRows(
        encoder,
        TextView(encoder="x", tier=tier, truncations=(1, 3), chunk_tokens=2),
        dict(zip("abcde", TEXTS, strict=True)),
        EncodeParams(text_batch_size=2, workers=0),
    )
    reasons, served = dict.fromkeys("abcde", "never came"), {}
    for batch in rows.encode(list("abcde")):
        ends = np.cumsum(batch.arrays.get("tokens_length", np.zeros(len(batch.positions), int)))
        assert tier != "full" or len(batch.arrays["tokens"]) == ends[-1]
        for place, position in enumerate(batch.positions):
            reasons["abcde"[position]] = batch.reasons[place]
            served["abcde"[position]] = {k: v[place] for k, v in batch.arrays.items() if k != "tokens"}
    assert reasons == {"a": NO_TOKENS, "b": None, "c": NO_TOKENS, "d": None, "e": None}
    for letter, text in zip("abcde", TEXTS, strict=True):
        if text:
            expected = encoder.encode([text])[0].numpy()
            np.testing.assert_allclose(served[letter]["pooled"], expected, atol=1e-5)
            np.testing.assert_allclose(served[letter]["truncated"][0], encoder.encode([text], 1)[0].numpy(), atol=1e-5)
        else:
            assert np.isnan(served[letter]["pooled"]).all()
            assert np.isnan(served[letter]["truncated"]).all()
        if tier == "full":
            assert served[letter]["tokens_length"] == len(text.split())


def test_special_tokens_and_templates_are_tokens(tmp_path: Path) -> None:
    encoder = encoder_of("llm", tmp_path, "last")
    view = TextView(encoder="x", templates=("a {}", "a red {}"))
    ((batch),) = TextRows(encoder, view, {"a": ""}, EncodeParams(text_batch_size=2, workers=0)).encode(["a"])
    assert batch.reasons == [None]
    mean = (encoder.encode(["a "]) + encoder.encode(["a red "]))[0].numpy() / 2
    np.testing.assert_allclose(batch.arrays["pooled"][0], mean, atol=1e-5)
    assert len(words()("")["input_ids"]) == 2
