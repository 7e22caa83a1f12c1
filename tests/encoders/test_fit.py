"""`fit: whole` resizes all of an image to the encoder's square; without it nothing changes."""

from pathlib import Path

import numpy as np
import timm
import torch
import transformers as hf
from PIL import Image

from pipeline.encoders.checkpoint import materialise
from pipeline.encoders.image import load_image_encoder
from pipeline.encoders.manifest import read_manifest
from pipeline.encoding.identity import fingerprint_of
from tests.encoders.conftest import picture, spec, view

WHOLE = view(resolution=48, fit="whole")


def squeezed(image: Image.Image, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    """By PIL alone: bicubic to 48 x 48, to 0 to 1, normalised."""
    values = np.asarray(image.resize((48, 48), Image.Resampling.BICUBIC), dtype=np.float64) / 255
    return torch.from_numpy((values - mean) / std).permute(2, 0, 1).float()


def test_transformers(tmp_path: Path) -> None:
    body = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "image_size": 32, "patch_size": 8}
    hf.Dinov2Model(hf.Dinov2Config(**body)).save_pretrained(tmp_path / "origin")
    processor = hf.BitImageProcessor(size={"shortest_edge": 40}, crop_size={"height": 32, "width": 32})
    processor.save_pretrained(tmp_path / "origin")
    encoder_spec = spec("image", "transformers", str(tmp_path / "origin"))
    materialise(encoder_spec, tmp_path / "eye")
    pixels = load_image_encoder(tmp_path / "eye", encoder_spec, WHOLE, "cpu").preprocess(picture())
    expected = squeezed(picture(), tuple(processor.image_mean), tuple(processor.image_std))
    assert (pixels - expected).abs().max() < 0.05  # processors round to bytes in between
    model = load_image_encoder(tmp_path / "eye", encoder_spec, view(resolution=48), "cpu")
    assert (model.preprocess(picture()) - expected).abs().max() > 0.5
    manifest = read_manifest(tmp_path / "eye")
    compared = fingerprint_of(manifest, encoder_spec, view(resolution=48)).compared
    assert "fit" not in compared, "stores that were there keep the fingerprint they had"
    assert fingerprint_of(manifest, encoder_spec, WHOLE).compared == compared | {"fit": "whole"}


def test_timm(tmp_path: Path) -> None:
    from tests.encoders.test_image import timm_folder

    folder = timm_folder(tmp_path, "test_vit")
    encoder = load_image_encoder(folder, spec("image", "timm"), WHOLE, "cpu")
    config = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0).pretrained_cfg
    pixels = encoder.preprocess(picture())
    assert pixels.shape == (3, 48, 48)
    expected = squeezed(picture(), config["mean"], config["std"])
    assert (pixels - expected).abs().max() < 0.05
