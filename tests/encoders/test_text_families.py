"""Text families of transformers with ways of their own, against the library on one text at a time."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

from pipeline.config import EncodeParams, TextView
from pipeline.encoders.checkpoint import materialise
from pipeline.encoders.text import load_text_encoder
from pipeline.encoding.rows import TextRows
from pipeline.errors import CheckpointError
from tests.encoders.conftest import spec
from tests.encoders.dual_models import LANGUAGE, LENGTH, TEXTS, _spread, write_pieces
from tests.encoders.tiny_models import words

SMALL = {"vocab_size": 30, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
SMALL |= {"intermediate_size": 32, "max_position_embeddings": 40, "pad_token_id": 0}
OWN: dict[str, dict[str, Any]] = {
    "Opt": {"word_embed_proj_dim": 10, "ffn_dim": 32, "bos_token_id": 2, "eos_token_id": 3},
    "MobileBert": {"embedding_size": 16, "intra_bottleneck_size": 16},
}
CLASSES = {"Opt": "OPT"}
PADDED = ["ConvBert", "FNet", "MobileBert", "Nystromformer", "Yoso"]  # padding would change their features
OTHERS = ["Opt", "XLM", "Electra"]
TOWERS = ["MetaClip2Text", "ChineseCLIPText", "BlipText", "XCLIPText", "OwlViTText"]


def entry(folder: Path, loader: str = "transformers", **options: Any) -> Any:
    return spec("text", loader, str(folder), **{"pooling": "mean"} | options)


def model_of(family: str, **options: Any) -> Any:
    own = dict(OWN.get(family, {}) | options)
    name = CLASSES.get(family, family)
    config = getattr(hf, f"{name if hasattr(hf, f'{name}Config') else family}Config")
    known = config().to_dict().keys() | getattr(config, "attribute_map", {}).keys()
    torch.manual_seed(0)
    return _spread(getattr(hf, f"{name}Model")(config(**{k: v for k, v in (SMALL | own).items() if k in known})))


def loaded(made: Path, wanted: Any, **view: Any) -> Any:
    materialise(wanted, made)
    return load_text_encoder(made, wanted, TextView(encoder="x", **view), "cpu")


@pytest.mark.parametrize("family", [*PADDED, *OTHERS])
def test_features_are_those_of_a_text_alone(family: str, tmp_path: Path) -> None:
    model, tokenizer = model_of(family), words()
    model.save_pretrained(tmp_path / "origin")
    tokenizer.save_pretrained(tmp_path / "origin")
    encoder = loaded(tmp_path / "made", entry(tmp_path / "origin"), tier="full")
    with torch.inference_mode():
        inputs = [tokenizer(text, truncation=True, return_tensors="pt")["input_ids"] for text in TEXTS]
        alone = [model(input_ids=ids).last_hidden_state[0] for ids in inputs]
    found = encoder.encode_tokens(list(TEXTS))
    assert encoder.width == alone[0].shape[-1] == (10 if family == "Opt" else 16)
    assert found.mask.sum(dim=1).tolist() == [len(tokens) for tokens in alone]
    for row, tokens in enumerate(alone):
        np.testing.assert_allclose(found.tokens[row, : len(tokens)].numpy(), tokens.numpy(), atol=2e-4)
        np.testing.assert_allclose(found.pooled[row].numpy(), tokens.mean(dim=0).numpy(), atol=2e-4)
    rows = TextRows(encoder, TextView(encoder="x"), dict(zip("abcde", TEXTS, strict=True)), EncodeParams(workers=0))
    (batch,) = rows.encode(list("abcde"))
    expected = np.stack([alone[position].mean(dim=0).numpy() for position in batch.positions])
    np.testing.assert_allclose(batch.arrays["pooled"], expected, atol=2e-4)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", ["FNet", "ConvBert", "Electra"])
def test_a_folder_of_sentence_transformers_gives_what_it_gives_one_text(family: str, side: str, tmp_path: Path) -> None:
    model_of(family).save_pretrained(tmp_path / "plain")
    words(side).save_pretrained(tmp_path / "plain")
    parts = [Transformer(str(tmp_path / "plain"), max_seq_length=14), Pooling(16)]
    library = SentenceTransformer(modules=parts, device="cpu")
    library.save_pretrained(str(tmp_path / "origin"))
    wanted = entry(tmp_path / "origin", "sentence-transformers", pooling="model")
    encoder = loaded(tmp_path / "made", wanted, tier="full")
    expected = np.concatenate([library.encode([text]) for text in TEXTS])
    np.testing.assert_allclose(encoder.encode(list(TEXTS)).numpy(), expected, atol=2e-4)
    found = encoder.encode_tokens(list(TEXTS))
    counts = [min(14, len(words()(text)["input_ids"])) for text in TEXTS]
    assert found.mask.sum(dim=1).tolist() == counts
    for row, text in enumerate(TEXTS):
        tokens = library.encode([text], output_value="token_embeddings")[0].numpy()
        np.testing.assert_allclose(found.tokens[row][found.mask[row]].numpy(), tokens, atol=2e-4)


@pytest.mark.parametrize("family", TOWERS)
def test_the_text_tower_of_a_larger_model_alone(family: str, tmp_path: Path) -> None:
    config = getattr(hf, f"{family}Config")(**LANGUAGE | {"max_position_embeddings": LENGTH + 1})
    torch.manual_seed(0)
    model, tokenizer = _spread(getattr(hf, f"{family}Model")(config)), words()
    model.save_pretrained(tmp_path / "origin")
    tokenizer.save_pretrained(tmp_path / "origin")
    wanted = entry(tmp_path / "origin", pooling="model")
    encoder = loaded(tmp_path / "made", wanted)
    with torch.inference_mode():
        inputs = [
            tokenizer(text, truncation=True, max_length=encoder.max_tokens, return_tensors="pt") for text in TEXTS
        ]
        expected = [model(input_ids=one["input_ids"]).pooler_output[0].numpy() for one in inputs]
    np.testing.assert_allclose(encoder.encode(list(TEXTS)).numpy(), np.stack(expected), atol=1e-4)


def test_the_text_tower_of_siglip2_is_padded_as_it_was_trained(tmp_path: Path) -> None:
    write_pieces(tmp_path / "origin")
    model = _spread(hf.Siglip2TextModel(hf.Siglip2TextConfig(**LANGUAGE | {"vocab_size": 32})))
    model.save_pretrained(tmp_path / "origin")
    with pytest.raises(CheckpointError, match="trained without a mask over its padding; set `pooling: model`"):
        loaded(tmp_path / "made", entry(tmp_path / "origin"))
    encoder = loaded(tmp_path / "made", entry(tmp_path / "origin", pooling="model"))
    tokenizer = hf.AutoTokenizer.from_pretrained(tmp_path / "origin")
    with torch.inference_mode():
        batch = tokenizer(list(TEXTS), padding="max_length", truncation=True, return_tensors="pt")
        expected = model(input_ids=batch["input_ids"]).pooler_output.numpy()
    np.testing.assert_allclose(encoder.encode(list(TEXTS)).numpy(), expected, atol=1e-4)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "AltCLIPText": ({"project_dim": 12}, "features of width 12, and its config.json says 16; such a model is not"),
    "Wav2Vec2": ({"conv_dim": [8] * 7}, "wav2vec2 is not a model of texts"),
    "ImageGPT": ({"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 20}, "imagegpt is not a model of texts"),
    "DecisionTransformer": ({}, "decision_transformer is not a model of texts"),
    "Vilt": ({"image_size": 16, "patch_size": 8}, "ViltModel gives no features of texts alone"),
    "Bros": ({}, "BrosModel gives no features of texts alone .*bbox"),
    "Lxmert": ({"l_layers": 1, "x_layers": 1, "r_layers": 1}, "LxmertModel gives no features of texts alone"),
}


@pytest.mark.parametrize("family", REFUSED)
def test_a_family_that_does_not_read_texts_alone_is_named(family: str, tmp_path: Path) -> None:
    options, message = REFUSED[family]
    model_of(family, **options).save_pretrained(tmp_path / "origin")
    words().save_pretrained(tmp_path / "origin")
    with pytest.raises(CheckpointError, match=message):
        loaded(tmp_path / "made", entry(tmp_path / "origin"))
