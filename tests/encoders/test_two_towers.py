"""Families of two towers beside CLIP and SigLIP: features are those of the library's `get_*_features`."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from pipeline.config import TextView
from pipeline.encoders.checkpoint import materialise
from pipeline.encoders.image import load_image_encoder
from pipeline.encoders.manifest import read_manifest, write_manifest
from pipeline.encoders.text import load_text_encoder
from pipeline.errors import CheckpointError
from tests.encoders.conftest import picture, spec, view
from tests.encoders.dual_models import LANGUAGE, LENGTH, SHARED, TEXTS, VISION, WORDS, _spread, write_tokenizer

PICTURES = [picture(150, 110, 0), picture(90, 130, 1)]
EFFICIENT = {"image_size": 32, "width_coefficient": 0.2, "depth_coefficient": 0.2, "hidden_dim": 24}
ROBERTA = LANGUAGE | {"project_dim": SHARED, "max_position_embeddings": LENGTH + 1}
GROUPS = VISION | {"num_hidden_layers": 3, "depths": [1, 1, 1], "num_group_tokens": [4, 2, 0]}
GROUPS |= {"num_output_groups": [4, 2, 0]}
FAMILIES: dict[str, tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "chinese_clip": ("ChineseCLIP", LANGUAGE, VISION, {"projection_dim": SHARED}),
    "altclip": ("AltCLIP", ROBERTA, VISION, {"projection_dim": SHARED}),
    "clipseg": ("CLIPSeg", LANGUAGE, VISION, {"projection_dim": SHARED}),
    "blip": ("Blip", LANGUAGE | {"encoder_hidden_size": 24}, VISION, {"projection_dim": SHARED}),
    "align": ("Align", LANGUAGE, EFFICIENT, {"projection_dim": SHARED}),
    "owlvit": ("OwlViT", LANGUAGE, VISION, {"projection_dim": SHARED}),
    "owlv2": ("Owlv2", LANGUAGE, VISION, {"projection_dim": SHARED}),
    "groupvit": ("GroupViT", LANGUAGE, GROUPS, {"projection_dim": SHARED, "projection_intermediate_dim": 16}),
    "siglip2": ("Siglip2", LANGUAGE | {"hidden_size": 24, "projection_size": 24}, VISION | {"num_patches": 16}, {}),
    "flava": ("Flava", LANGUAGE, VISION, {"projection_dim": SHARED, "hidden_size": 24, "multimodal_config": VISION}),
    "aimv2": ("Aimv2", LANGUAGE, VISION, {"projection_dim": SHARED}),
    "tipsv2": ("Tipsv2", LANGUAGE, VISION | {"hidden_size": 20}, {}),
    "xclip": (
        "XCLIP",
        LANGUAGE,
        VISION | {"mit_hidden_size": SHARED, "mit_num_attention_heads": 2},
        {"projection_dim": SHARED},
    ),
}
TEXTS_ALONE = {  # of whose images this file says no more than that
    "siglip2": "expected a processor that resizes a picture to patches of 8 pixels",  # tests/encoders/test_naflex.py
    "xclip": "xclip reads videos, several pictures at a time.* Its texts can be encoded",
}


def folder_of(kind: str, folder: Path) -> Path:
    name, text, vision, own = FAMILIES[kind]
    torch.manual_seed(0)
    towers = {"text_config": text, "image_config" if kind == "flava" else "vision_config": vision}
    model = getattr(hf, f"{name}Model")(getattr(hf, f"{name}Config")(**towers, **own))
    _spread(model).save_pretrained(folder)
    write_tokenizer(folder)
    size = {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}}
    hf.CLIPImageProcessor(**size).save_pretrained(folder)
    return folder


def entry(folder: Path, modality: str) -> Any:
    return spec(modality, "transformers", str(folder), pooling="model")


@pytest.mark.parametrize("kind", FAMILIES)
def test_features_are_those_of_the_library(kind: str, tmp_path: Path) -> None:
    folder = folder_of(kind, tmp_path / "origin")
    model = hf.AutoModel.from_pretrained(folder).eval()
    processor, tokenizer = hf.AutoImageProcessor.from_pretrained(folder), hf.AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        padding = "max_length" if kind == "siglip2" else "longest"
        tokens = tokenizer(list(TEXTS), padding=padding, truncation=True, return_tensors="pt")
        expected = model.get_text_features(**tokens).pooler_output.numpy()
        expected = expected[:, 0] if kind == "flava" else expected  # what its contrastive loss compares
        materialise(entry(folder, "text"), tmp_path / "text")
        encoder = load_text_encoder(tmp_path / "text", entry(folder, "text"), TextView(encoder="x"), "cpu")
        assert encoder.width == expected.shape[1]
        np.testing.assert_allclose(encoder.encode(list(TEXTS)).numpy(), expected, atol=1e-5)
        assert len(np.unique(expected.round(3), axis=0)) > 3
        if kind in TEXTS_ALONE:
            with pytest.raises(CheckpointError, match=TEXTS_ALONE[kind]):
                materialise(entry(folder, "image"), tmp_path / "image")
            return
        pixels = processor(images=PICTURES, return_tensors="pt")["pixel_values"]
        images = model.get_image_features(pixel_values=pixels).pooler_output.numpy()
        images = images[:, 0] if kind == "flava" else images
        manifest = materialise(entry(folder, "image"), tmp_path / "image")
        eye = load_image_encoder(tmp_path / "image", entry(folder, "image"), view(resolution=32, tier="cls"), "cpu")
        found = eye.forward(torch.stack([eye.preprocess(image) for image in PICTURES])).cls[:, 0].numpy()
    np.testing.assert_allclose(found, images.reshape(len(images), -1), atol=1e-5)
    scale = -math.log(model.temperature.item()) if kind in ("align", "tipsv2") else model.logit_scale.item()
    assert manifest.preprocessing["logit_scale"] == pytest.approx(scale)


def test_the_scale_of_a_detector_lies_below_its_own_layers(tmp_path: Path) -> None:
    folder = folder_of("owlvit", tmp_path / "origin")
    weights = load_file(folder / "model.safetensors")
    scale = weights["logit_scale"].item()
    save_file({f"owlvit.{k}": v for k, v in weights.items()}, folder / "model.safetensors", metadata={"format": "pt"})
    assert materialise(entry(folder, "text"), tmp_path / "text").preprocessing["logit_scale"] == pytest.approx(scale)
    load_text_encoder(tmp_path / "text", entry(folder, "text"), TextView(encoder="x"), "cpu")


SOUNDS = {
    "Clvp": {"text_config": LANGUAGE, "speech_config": LANGUAGE, "decoder_config": LANGUAGE},
}


@pytest.mark.parametrize("family", SOUNDS)
def test_other_pairs_of_towers_are_named(family: str, tmp_path: Path) -> None:
    getattr(hf, f"{family}Config")(**SOUNDS[family]).save_pretrained(tmp_path / "origin")
    write_tokenizer(tmp_path / "origin")
    save_file({"x": torch.zeros(1)}, tmp_path / "origin/model.safetensors")
    for pooling in ("model", "mean"):
        one = spec("text", "transformers", str(tmp_path / "origin"), pooling=pooling)
        with pytest.raises(CheckpointError, match=f"{family.lower()} is a model of two towers that is not .* groupvit"):
            materialise(one, tmp_path / "made")


def test_the_pooling_of_two_towers_is_named(tmp_path: Path) -> None:
    folder_of("blip", tmp_path / "blip")
    with pytest.raises(CheckpointError, match="`pooling: model` gives the image_features of this one"):
        materialise(spec("image", "transformers", str(tmp_path / "blip")), tmp_path / "made")


class GemmaWords(hf.PreTrainedTokenizerFast):
    """Stands for the Gemma tokenizer of SigLIP2's folders of fixed size: it keeps the case of letters."""


def gemma(normalizer: Any = None) -> Tokenizer:
    core = Tokenizer(models.WordLevel({word: row for row, word in enumerate(("<pad>", "<unk>", *WORDS))}, "<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    if normalizer is not None:
        core.normalizer = normalizer
    return core


def test_texts_of_a_siglip2_of_fixed_size_are_lower_cased(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = LANGUAGE | {"hidden_size": 24, "vocab_size": len(WORDS) + 2}
    model = _spread(hf.SiglipModel(hf.SiglipConfig(text_config=text, vision_config=VISION)))
    model.save_pretrained(tmp_path / "origin")
    names = {"pad_token": "<pad>", "unk_token": "<unk>", "model_max_length": LENGTH, "model_input_names": ["input_ids"]}
    made: Callable[..., Any] = lambda **_: GemmaWords(tokenizer_object=gemma(), **names)  # noqa: E731
    monkeypatch.setattr("pipeline.encoders.transformers_dual._tokenizer", lambda *_: made())
    one = entry(tmp_path / "origin", "text")
    assert materialise(one, tmp_path / "text").preprocessing["lower_case"] is True
    encoder = load_text_encoder(tmp_path / "text", one, TextView(encoder="x"), "cpu")
    lowered = hf.PreTrainedTokenizerFast(tokenizer_object=gemma(normalizers.Lowercase()), **names)
    batch = lowered(["A Red KITE"], padding="max_length", return_tensors="pt")
    with torch.inference_mode():
        expected = model.get_text_features(**batch).pooler_output.numpy()
    np.testing.assert_allclose(encoder.encode(["A Red KITE"]).numpy(), expected, atol=1e-5)
    assert encoder.lengths(["A Red KITE"]) == [3]
    described = read_manifest(tmp_path / "text")
    earlier = replace(described, preprocessing=dict(described.preprocessing) | {"lower_case": False})
    write_manifest(tmp_path / "text", earlier)
    with pytest.raises(CheckpointError, match="did not lower-case its texts.*dvc repro -f checkpoint@text"):
        load_text_encoder(tmp_path / "text", one, TextView(encoder="x"), "cpu")
