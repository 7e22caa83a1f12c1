"""Text features equal what the model's own library gives, and what does not exist is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModel,
    AutoTokenizer,
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2Model,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3Model,
    SiglipTextConfig,
    SiglipTextModel,
)

from pipeline.encoders.checkpoint import materialise
from pipeline.encoders.text import load_text_encoder
from pipeline.encoders.text_encoder import TextEncoder
from pipeline.encoders.text_limits import default_limit, positions
from pipeline.encoders.transformers_text import pool
from pipeline.errors import CheckpointError
from tests.encoders.conftest import spec, view
from tests.encoders.dual_models import LENGTH, PIECES, write_pieces
from tests.encoders.tiny_models import words

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "red", "kite", "over", "the", "sea", ":", "query"]
TEXTS = ["a red kite", "the sea", "a red kite over the sea : the sea over a kite", "sea"]


def bert(folder: Path, positions: int = 16, padding: str = "right") -> Path:
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=16, padding_side=padding, **special)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=positions,
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    origin = bert(tmp_path_factory.mktemp("origin") / "bert")
    result = tmp_path_factory.mktemp("folder") / "bert"
    materialise(spec("text", "transformers", str(origin)), result)
    return result


@pytest.fixture(scope="module")
def sentence_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    plain = bert(tmp_path_factory.mktemp("plain") / "bert")
    modules = [Transformer(str(plain), max_seq_length=8), Pooling(16, pooling_mode="cls"), Normalize()]
    origin = tmp_path_factory.mktemp("origin") / "sentence"
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(origin))
    result = tmp_path_factory.mktemp("folder") / "sentence"
    materialise(spec("text", "sentence-transformers", str(origin)), result)
    return result


def load(folder: Path, loader: str, max_tokens: int | None = None, **options: Any) -> TextEncoder:
    return load_text_encoder(folder, spec("text", loader, **options), view(max_tokens=max_tokens), "cpu")


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_transformers(folder: Path, pooling: str) -> None:
    encoder = load(folder, "transformers", pooling=pooling, prefix="query : ")
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    expected = []
    for text in TEXTS:  # one by one, so without any padding
        tokens = tokenizer("query : " + text, return_tensors="pt", truncation=True)
        with torch.inference_mode():
            hidden = model(**tokens).last_hidden_state[0]
        expected.append({"mean": hidden.mean(dim=0), "cls": hidden[0], "last": hidden[-1]}[pooling])
    features = encoder.encode(TEXTS)
    assert features.dtype == torch.float32
    assert (encoder.width, encoder.max_tokens) == (16, 16)
    assert encoder.lengths(TEXTS) == [7, 6, 16, 5]
    torch.testing.assert_close(features, torch.stack(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_padding_side_does_not_matter(pooling: str) -> None:
    hidden = torch.randn(1, 3, 4)
    right = pool(torch.cat([hidden, torch.full((1, 2, 4), 9.0)], dim=1), torch.tensor([[1, 1, 1, 0, 0]]), pooling)
    left = pool(torch.cat([torch.full((1, 2, 4), 9.0), hidden], dim=1), torch.tensor([[0, 0, 1, 1, 1]]), pooling)
    expected = {"mean": hidden.mean(dim=1), "cls": hidden[:, 0], "last": hidden[:, -1]}[pooling]
    torch.testing.assert_close(right, expected)
    torch.testing.assert_close(left, expected)


def test_sentence_transformers(sentence_folder: Path) -> None:
    encoder = load(sentence_folder, "sentence-transformers", pooling="model", prefix="query : ")
    own = SentenceTransformer(str(sentence_folder), device="cpu")
    expected = own.encode(["query : " + text for text in TEXTS], convert_to_tensor=True)
    torch.testing.assert_close(encoder.encode(TEXTS), expected, rtol=1e-4, atol=1e-5)
    assert (encoder.width, encoder.max_tokens) == (16, 8)
    assert encoder.lengths(TEXTS) == [7, 6, 8, 5]


def test_max_tokens_of_the_view(sentence_folder: Path) -> None:
    encoder = load(sentence_folder, "sentence-transformers", 4, pooling="model")
    assert encoder.lengths(TEXTS) == [4, 4, 4, 3]
    torch.testing.assert_close(encoder.encode(["a red kite"]), encoder.encode(["a red sea"]))


@pytest.mark.parametrize("loader", ["transformers", "sentence-transformers"])
def test_a_text_cut_on_the_way_equals_one_of_an_encoder_with_that_limit(
    folder: Path, sentence_folder: Path, loader: str
) -> None:
    chosen, pooling = (folder, "mean") if loader == "transformers" else (sentence_folder, "model")
    encoder = load(chosen, loader, 8, pooling=pooling)
    whole = encoder.encode(TEXTS)
    for limit in (4, 6):
        limited = load(chosen, loader, limit, pooling=pooling)
        torch.testing.assert_close(encoder.encode(TEXTS, limit), limited.encode(TEXTS), rtol=1e-4, atol=1e-5)
        assert encoder.lengths(TEXTS) == [5, 4, 8, 3]  # nothing sticks
    torch.testing.assert_close(encoder.encode(TEXTS), whole)
    torch.testing.assert_close(encoder.encode(TEXTS, 100), whole)  # a higher limit than its own does not hold


@pytest.mark.parametrize("loader", ["transformers", "sentence-transformers"])
def test_max_tokens_above_the_positions(folder: Path, sentence_folder: Path, loader: str) -> None:
    chosen, pooling = (folder, "mean") if loader == "transformers" else (sentence_folder, "model")
    with pytest.raises(CheckpointError, match="has 16 positions, the view asks for max_tokens 17"):
        load(chosen, loader, 17, pooling=pooling)


def test_poolings_that_do_not_exist(folder: Path, sentence_folder: Path) -> None:
    with pytest.raises(CheckpointError, match="lacks weights that BertModel needs for pooling model: pooler"):
        load(folder, "transformers", pooling="model")
    with pytest.raises(CheckpointError, match="set `pooling: model`"):
        load(sentence_folder, "sentence-transformers", pooling="mean")


def test_layers_are_for_images(folder: Path) -> None:
    with pytest.raises(ValidationError, match="`layers` would have no effect"):
        spec("text", "transformers", layers=[1])
    recorded = spec("text", "transformers", pooling="mean").model_copy(update={"layers": (1,)})
    with pytest.raises(CheckpointError, match=r"from the last layer, found layers \[1\]"):
        load_text_encoder(folder, recorded, view(), "cpu")


def test_loader_of_another_folder(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="expected modules.json"):
        materialise(spec("text", "sentence-transformers", str(folder)), tmp_path / "x")
    with pytest.raises(CheckpointError, match="run: dvc repro checkpoint@bert"):
        load(folder, "sentence-transformers", pooling="model")


def test_manifest_of_a_sentence_folder(sentence_folder: Path, tmp_path: Path) -> None:
    manifest = materialise(spec("text", "sentence-transformers", str(sentence_folder)), tmp_path / "x")
    assert manifest.preprocessing["modules"] == ["Transformer", "Pooling", "Normalize"]
    assert manifest.preprocessing["pooling"] == "cls"
    assert (manifest.preprocessing["max_tokens"], manifest.preprocessing["positions"]) == (8, 16)


def test_limits() -> None:
    roberta = type("Config", (), {"max_position_embeddings": 514, "model_type": "roberta", "pad_token_id": 1})
    relative = type("Config", (), {"model_type": "t5"})
    assert positions(roberta) == 512
    assert positions(relative) is None
    assert default_limit(int(1e30), None) is None
    assert default_limit(512, 128) == 128


def test_minilm_is_what_sentence_transformers_gives(embedded: Callable[[str], Path]) -> None:
    folder = embedded("all-MiniLM-L6-v2")
    encoder = load(folder, "sentence-transformers", pooling="model")
    texts = ["a red kite", "a kite that is red", "the stock market", "x " * 400]
    own = SentenceTransformer(str(folder), device="cpu").encode(texts, convert_to_tensor=True)
    features = encoder.encode(texts)
    torch.testing.assert_close(features, own, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(4))
    assert encoder.lengths(texts)[3] == encoder.max_tokens == 256
    assert features[0] @ features[1] > 0.8 > 0.4 > features[0] @ features[2]


def test_e5_puts_translations_together(embedded: Callable[[str], Path]) -> None:
    encoder = load(embedded("multilingual-e5-small"), "sentence-transformers", pooling="model", prefix="query: ")
    english = ["a red apple", "a fire engine", "two cats sleeping", "heavy rain"]
    others = {
        "de": ["ein roter Apfel", "ein Feuerwehrauto", "zwei schlafende Katzen", "starker Regen"],
        "zh": ["一个红苹果", "一辆消防车", "两只睡觉的猫", "大雨"],
        "ru": ["красное яблоко", "пожарная машина", "две спящие кошки", "сильный дождь"],
    }
    features = encoder.encode(english)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(4))
    for language, texts in others.items():
        assert (encoder.encode(texts) @ features.T).argmax(dim=1).tolist() == [0, 1, 2, 3], language
    alone = torch.cat([encoder.encode([text]) for text in english])
    torch.testing.assert_close(alone, features, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pooling", ["last", "mean"])
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kind", ["Qwen3", "GPT2"])
def test_a_decoder_gives_a_text_the_same_features_in_any_batch(
    kind: str, side: str, pooling: str, tmp_path: Path
) -> None:
    """GPT-2 has learned absolute positions, which padding on the left would shift."""
    torch.manual_seed(0)
    if kind == "GPT2":
        model: Any = GPT2Model(GPT2Config(vocab_size=30, n_embd=16, n_layer=2, n_head=2, n_positions=32))
    else:
        body = {"vocab_size": 30, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "head_dim": 8}
        model = Qwen3Model(Qwen3Config(**body, num_key_value_heads=1, intermediate_size=32))
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(5 if weight.ndim > 1 else 1)
    model.eval().save_pretrained(tmp_path / "origin")
    words(side, end=True).save_pretrained(tmp_path / "origin")
    materialise(spec("text", "transformers", str(tmp_path / "origin"), pooling=pooling), tmp_path / "made")
    encoder = load(tmp_path / "made", "transformers", pooling=pooling)
    texts = ["a red kite of the green bowl", "cats", "soup with two cats"]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "origin")
    for row, text in zip(encoder.encode(texts), texts, strict=True):
        with torch.inference_mode():
            hidden = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        torch.testing.assert_close(row, hidden[-1] if pooling == "last" else hidden.mean(dim=0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("include", [True, False])
@pytest.mark.parametrize("default", [None, "query"])
def test_prompts_of_the_folder(default: str | None, include: bool, tmp_path: Path) -> None:
    plain = bert(tmp_path / "plain")
    modules = [Transformer(str(plain), max_seq_length=12), Pooling(16, pooling_mode="mean", include_prompt=include)]
    prompts = {"query": "query : ", "sea": "the sea : ", "document": ""}
    made = SentenceTransformer(modules=modules, device="cpu", prompts=prompts, default_prompt_name=default)
    made.save_pretrained(str(tmp_path / "origin"))
    manifest = materialise(spec("text", "sentence-transformers", str(tmp_path / "origin")), tmp_path / "made")
    assert manifest.preprocessing["prompts"] == {"query": "query : ", "sea": "the sea : "}
    assert manifest.preprocessing["default_prompt"] == default
    own = SentenceTransformer(str(tmp_path / "origin"), device="cpu")

    def found(**options: Any) -> torch.Tensor:
        return load(tmp_path / "made", "sentence-transformers", pooling="model", **options).encode(TEXTS)

    def expected(**options: Any) -> torch.Tensor:
        return own.encode(list(TEXTS), convert_to_tensor=True, **options)

    torch.testing.assert_close(found(), expected(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found(prompt="sea"), expected(prompt_name="sea"), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found(prompt=""), expected(prompt=""), rtol=1e-4, atol=1e-5)
    prefixed = own.encode(["red " + text for text in TEXTS], convert_to_tensor=True, prompt="")
    torch.testing.assert_close(found(prefix="red "), prefixed, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found(prompt="sea"), found(prompt=""))
    with pytest.raises(CheckpointError, match="no prompt 'passage', it has: document, query, sea"):
        found(prompt="passage")


def test_a_caption_that_looks_like_an_address_is_a_text(sentence_folder: Path) -> None:
    encoder = load(sentence_folder, "sentence-transformers", pooling="model")
    own = SentenceTransformer(str(sentence_folder), device="cpu")
    text = "https://example.org/a.png"
    tokens = own.tokenizer(text, return_tensors="pt", truncation=True, max_length=8)
    with torch.inference_mode():
        expected = torch.nn.functional.normalize(own[0].auto_model(**tokens).last_hidden_state[:, 0])
    torch.testing.assert_close(encoder.encode([text]), expected, rtol=1e-4, atol=1e-5)


def test_the_pooled_output_of_an_encoder(tmp_path: Path) -> None:
    model = BertModel.from_pretrained(bert(tmp_path / "origin"))  # with a pooler, random
    model.eval().save_pretrained(tmp_path / "origin")
    materialise(spec("text", "transformers", str(tmp_path / "origin"), pooling="model"), tmp_path / "made")
    encoder = load(tmp_path / "made", "transformers", pooling="model")
    tokens = AutoTokenizer.from_pretrained(tmp_path / "origin")(
        TEXTS, padding=True, truncation=True, return_tensors="pt"
    )
    with torch.inference_mode():
        torch.testing.assert_close(encoder.encode(TEXTS), model(**tokens).pooler_output, rtol=1e-4, atol=1e-5)


def test_a_siglip_text_tower_alone(tmp_path: Path) -> None:
    write_pieces(tmp_path / "origin")
    config = SiglipTextConfig(vocab_size=PIECES, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
                              num_attention_heads=2, max_position_embeddings=LENGTH)  # fmt: skip
    model = SiglipTextModel(config).eval()
    model.save_pretrained(tmp_path / "origin")
    materialise(spec("text", "transformers", str(tmp_path / "origin"), pooling="model"), tmp_path / "made")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "origin")
    tokens = tokenizer(TEXTS, padding="max_length", truncation=True, return_tensors="pt")
    with torch.inference_mode():
        expected = model(**tokens).pooler_output
    found = load(tmp_path / "made", "transformers", pooling="model").encode(TEXTS)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(CheckpointError, match="without a mask over its padding; set `pooling: model`"):
        load(tmp_path / "made", "transformers", pooling="mean")


def test_a_decoder_has_no_pooled_output(tmp_path: Path) -> None:
    Qwen3Model(Qwen3Config(vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, head_dim=8,
                           num_key_value_heads=1, intermediate_size=32)).save_pretrained(
        tmp_path / "origin")  # fmt: skip
    words().save_pretrained(tmp_path / "origin")
    materialise(spec("text", "transformers", str(tmp_path / "origin"), pooling="model"), tmp_path / "made")
    with pytest.raises(CheckpointError, match="has no pooled output of its own; set `pooling` to mean, cls or last"):
        load(tmp_path / "made", "transformers", pooling="model")
