"""Entries of encoders and views: the catalogue, what contradicts itself, and how encoding runs."""

from typing import Any

import pytest

from pipeline.config.load import validate
from tests.config.refusals import refusal


def test_the_papers_pair_is_two_lines(raw: dict[str, Any]) -> None:
    raw["encoders"]["vit-s14"] = {"catalogue": "dinov2-large"}
    raw["encoders"]["minilm"] = {"catalogue": "all-roberta-large-v1"}
    encoders = validate(raw).encoders
    image, text = encoders["vit-s14"], encoders["minilm"]
    assert (image.model, image.loader, image.source) == ("facebook/dinov2-large", "transformers", "hub")
    assert (text.model, text.pooling) == ("sentence-transformers/all-roberta-large-v1", "model")
    assert raw["encoders"]["vit-s14"] == {"catalogue": "dinov2-large"}, "what was read is not changed"


def test_written_keys_win_over_the_catalogue(raw: dict[str, Any]) -> None:
    raw["encoders"]["vit-s14"] = {"catalogue": "dinov2-small", "revision": "ab" * 20, "layers": [4, 12]}
    entry = validate(raw).encoders["vit-s14"]
    assert (entry.revision, entry.layers, entry.model) == ("ab" * 20, (4, 12), "facebook/dinov2-small")


def test_unknown_catalogue_entry_names_the_nearest(raw: dict[str, Any]) -> None:
    raw["encoders"]["vit-s14"] = {"catalogue": "dino-v2-large"}
    assert (
        "`encoders.vit-s14.catalogue`: the catalogue has no 'dino-v2-large'. Did you mean 'dinov2-large'?"
        in refusal(raw)
    )


@pytest.mark.parametrize(
    ("name", "keys", "message"),
    [
        ("vit-s14", {"prefix": "query: "}, "prefix and prompt are for texts"),
        ("vit-s14", {"prompt": "query"}, "prefix and prompt are for texts"),
        ("minilm", {"prompt": "query", "prefix": "query: "}, "not both"),
        ("minilm", {"prompt": "q", "loader": "transformers", "pooling": "mean"}, "with another loader write a prefix"),
        ("minilm", {"autocast": "bfloat16", "dtype": "float16"}, "leave out dtype, found float16"),
        ("minilm", {"autocast": "int8"}, "`encoders.minilm.autocast` is 'int8'"),
    ],
)
def test_what_an_encoder_cannot_be(raw: dict[str, Any], name: str, keys: dict[str, Any], message: str) -> None:
    raw["encoders"][name] |= keys
    assert message in refusal(raw)


def test_crops_are_for_images(raw: dict[str, Any]) -> None:
    raw["views"]["minilm"]["crops"] = 2
    assert "`views.minilm.crops` has no effect with modality: text" in refusal(raw)
    raw["views"]["minilm"].pop("crops")
    raw["views"]["vit"] |= {"crops": 2, "crop_scale": [0.9, 0.5]}
    assert "crop_scale goes from 0.9 down to 0.5" in refusal(raw)


def test_how_encoding_runs(raw: dict[str, Any]) -> None:
    raw["encode"] |= {"batch_size": "auto", "text_batch_size": "auto", "workers": 3, "compile": True}
    assert validate(raw).encode.batch_size == "auto"
    raw["encode"]["batch_size"] = "automatic"
    assert "`encode.batch_size" in refusal(raw)
    raw["encode"]["batch_size"] = 0
    assert "`encode.batch_size" in refusal(raw)


@pytest.mark.parametrize("key", ["catalog", "catalouge"])
def test_a_mistyped_catalogue_is_said_once_and_nothing_that_it_would_have_given(key: str, raw: dict[str, Any]) -> None:
    raw["encoders"]["vit-s14"] = {key: "dinov2-large"}
    message = refusal(raw)
    assert f"`encoders.vit-s14.{key}` is not a key that exists here. Did you mean `catalogue`?" in message
    assert "is missing" not in message


def test_a_store_without_a_group_is_shown_where_it_belongs(raw: dict[str, Any]) -> None:
    raw["stores"]["mine-eye"] = {"dataset": "emoji", "view": "vit", "encoder": "vit-s14"}
    assert "`stores.mine-eye` stands under no group; write `stores.pairs.mine-eye`." in refusal(raw)
