"""Batches made from the Rust backend's ids are those of the library; where they would differ, it makes them."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from tokenizers import processors

from pipeline.encoders import batch_tokens
from pipeline.encoders.batch_tokens import BatchTokens
from tests.encoders.tiny_models import words

TEXTS = ["", "a red kite", "A Red kite over the sea " * 5, "sea", "漢字 🪁", " the\tsea "]


def library(tokenizer: Any, **options: Any) -> Callable[[list[str], int], Mapping[str, Any]]:
    def whole(texts: list[str], limit: int) -> Mapping[str, Any]:
        batch = tokenizer(texts, truncation=True, max_length=limit, return_tensors="pt", **{"padding": True} | options)
        return dict(batch)

    return whole


def second_type(tokenizer: Any) -> Any:
    """A template whose tokens are not all of type 0, as XLNet's."""
    begin, end = "<s>", "</s>"
    ids = [(token, tokenizer.convert_tokens_to_ids(token)) for token in (begin, end)]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A:0 {end}:0 {begin}:2", special_tokens=ids
    )
    return tokenizer


@pytest.mark.parametrize("kind", ["right", "left", "types", "mask", "left types"])
def test_batches_are_those_of_the_library(kind: str) -> None:
    tokenizer = words(padding_side="left" if "left" in kind else "right")
    if "types" in kind:
        tokenizer = second_type(tokenizer)
        tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    if kind == "mask":
        tokenizer.model_input_names = ["input_ids"]
    whole = library(tokenizer)
    tokens = BatchTokens.proven(tokenizer, whole, 14)
    assert tokens is not None
    for limit in (14, 6, 3):
        for texts in (TEXTS, TEXTS[1:2], TEXTS[::-1]):
            expected = whole(texts, limit)
            for counted in (False, True):
                if counted:
                    mask = expected["attention_mask"].sum(dim=1).tolist() if "attention_mask" in expected else None
                    assert mask in (None, tokens.counts(texts, limit))
                found = tokens(texts, limit)
                assert set(found) == set(expected)
                for key, value in expected.items():
                    assert found[key].dtype == value.dtype
                    torch.testing.assert_close(found[key], value, rtol=0, atol=0)


def test_a_prefix_and_a_fixed_length() -> None:
    tokenizer = words()

    def whole(texts: list[str], limit: int) -> Mapping[str, Any]:
        cut = tokenizer(["red " + text for text in texts], truncation=True, max_length=limit)
        padded = tokenizer.pad(cut, padding="max_length", max_length=16, return_tensors="pt")
        return {**padded, "prompt_length": 1}

    tokens = BatchTokens.proven(tokenizer, whole, 9, "red ", 16)
    assert tokens is not None
    found, expected = tokens(TEXTS, 9), whole(TEXTS, 9)
    assert found["input_ids"].shape == (len(TEXTS), 16)
    assert found["prompt_length"] == 1
    assert all(torch.equal(found[key], expected[key]) for key in ("input_ids", "attention_mask"))


def test_what_a_library_does_beyond_its_tokenizer_stays_with_it() -> None:
    tokenizer = words()
    plain = library(tokenizer)
    assert BatchTokens.proven(tokenizer, lambda texts, limit: plain([t.lower() for t in texts], limit), 14) is None
    assert BatchTokens.proven(tokenizer, lambda texts, limit: plain([f"a {t}" for t in texts], limit), 14) is None
    assert BatchTokens.proven(tokenizer, library(tokenizer, pad_to_multiple_of=8), 16) is None
    floats = lambda texts, limit: {k: v.int() for k, v in plain(texts, limit).items()}  # noqa: E731
    assert BatchTokens.proven(tokenizer, floats, 14) is None


def test_a_library_that_refuses_odd_texts_keeps_all() -> None:
    tokenizer = words()
    plain = library(tokenizer)

    def strict(texts: list[str], limit: int) -> Mapping[str, Any]:
        if not all(map(str.isascii, texts)):
            raise ValueError("no such token")
        return plain(texts, limit)

    assert BatchTokens.proven(tokenizer, strict, 14) is None
    tokenizer.pad_token = None
    assert BatchTokens.proven(tokenizer, plain, 14) is None


def test_counted_texts_are_not_tokenised_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = words()
    tokens = BatchTokens.proven(tokenizer, library(tokenizer), 14)
    assert tokens is not None
    asked: list[list[str]] = []
    real = tokens._encoded
    monkeypatch.setattr(tokens, "_encoded", lambda texts, limit: asked.append(list(texts)) or real(texts, limit))
    tokens.counts(TEXTS, 14)
    before = tokens(TEXTS[:3], 14)
    tokens(["new", TEXTS[3]], 14)
    tokens(TEXTS[4:5], 6)  # cut elsewhere
    again = tokens(TEXTS[:3], 14)
    assert asked == [TEXTS, [], ["new"], TEXTS[4:5], TEXTS[:3]]
    assert all(torch.equal(before[key], again[key]) for key in before)
    monkeypatch.setattr(batch_tokens, "_KEPT", 20)
    for number in range(50):
        tokens.counts([f"{number} a red kite"], 14)
        assert sum(map(len, tokens._counted.values())) == tokens._counted_tokens <= 20
