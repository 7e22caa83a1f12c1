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


def with_imported(raw: dict[str, Any]) -> dict[str, Any]:
    """The default aligner on vectors of another program."""
    raw["encoders"]["clip"] = {"modality": "image", "source": "imported", "model": "/data/clip-retrieval"}
    raw["views"]["clip"] = {"encoder": "clip", "resolution": 224, "tier": "cls"}
    for dataset in raw["curations"]["all"]["pool"]:
        raw["stores"]["pairs"][f"{dataset}-clip"] = {"dataset": dataset, "view": "clip", "encoder": "clip"}
    head = {"kind": "closed-form", "local_tokens": "none", "image_input": "cls", "forms": {"cca": {}}}
    raw["aligners"]["mine"] = {"views": ["clip", "minilm"], "data": "all", "head": head}
    return raw


def test_imported_vectors_are_an_encoder_whose_loader_is_understood(raw: dict[str, Any]) -> None:
    params = validate(with_imported(raw))
    encoder = params.encoders["clip"]
    assert (encoder.loader, encoder.pooling, encoder.model) == ("imported", "model", "/data/clip-retrieval")
    assert params.aligners["mine"].views == ("clip", "minilm")


@pytest.mark.parametrize(
    ("where", "keys", "message"),
    [
        ("encoders", {"loader": "timm"}, "source imported has loader imported"),
        ("encoders", {"source": "local", "loader": "imported", "pooling": "model"}, "no other source has"),
        ("encoders", {"dtype": "float16"}, "`dtype` would have no effect: imported vectors are taken as they are"),
        ("encoders", {"autocast": "bfloat16"}, "`autocast` would have no effect"),
        ("encoders", {"layers": [1, 2]}, "leave out pooling and layers"),
        ("encoders", {"pooling": "cls"}, "leave out pooling and layers"),
        ("encoders", {"revision": "main"}, "revisions belong to `source: hub`"),
        ("views", {"tier": "grid"}, "`views.clip.tier` is 'grid'; imported are single vectors: set `tier: cls`"),
        ("views", {"crops": 2}, "`views.clip.crops` is 2; imported are single vectors"),
        ("views", {"fit": "whole"}, "`views.clip.fit` is 'whole'"),
    ],
)
def test_what_imported_vectors_cannot_be(raw: dict[str, Any], where: str, keys: dict[str, Any], message: str) -> None:
    with_imported(raw)[where]["clip"] |= keys
    assert message in refusal(raw)


def test_texts_and_heads_of_imported_vectors(raw: dict[str, Any]) -> None:
    with_imported(raw)["aligners"]["mine"]["head"] |= {"local_tokens": "mean", "image_input": "concat"}
    assert "but the imported encoder 'clip' gives one vector per image: set `local_tokens: none`" in refusal(raw)
    raw["aligners"]["mine"]["head"] |= {"local_tokens": "none", "image_input": "cls"}
    raw["encoders"]["words"] = {"modality": "text", "source": "imported", "model": "texts.npy"}
    raw["views"]["words"] = {"encoder": "words", "tier": "full", "max_tokens": 9}
    said = refusal(raw)
    assert "`views.words.tier` is 'full'; imported are single vectors: leave it out" in said
    assert "`views.words.max_tokens` is 9" in said
