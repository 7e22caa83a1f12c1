"""Further image families of transformers: tokens are those of the library's own forward pass, nothing masked."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf

from pipeline.encoders.checkpoint import materialise
from pipeline.encoders.image import load_image_encoder
from pipeline.errors import CheckpointError
from tests.encoders.conftest import picture, spec, view
from tests.encoders.dual_models import VISION, _spread

PICTURES = [picture(150, 110, 0), picture(90, 130, 1), picture(60, 60, 2)]
RELATIVE = VISION | {"use_relative_position_bias": True}
MODELS: dict[str, Any] = {
    "ijepa": lambda: hf.IJepaModel(hf.IJepaConfig(**VISION)),
    "beit": lambda: hf.BeitModel(hf.BeitConfig(**RELATIVE, use_mean_pooling=False)),
    "beit, pooled": lambda: hf.BeitModel(hf.BeitConfig(**RELATIVE, use_mean_pooling=True)),
    "beit, absolute": lambda: hf.BeitModel(hf.BeitConfig(**VISION, use_absolute_position_embeddings=True)),
    "data2vec": lambda: hf.Data2VecVisionModel(hf.Data2VecVisionConfig(**RELATIVE), add_pooling_layer=True),
    "mae": lambda: hf.ViTMAEModel(hf.ViTMAEConfig(**VISION, mask_ratio=0.0)),
}


def folder_of(name: str, folder: Path) -> Path:
    torch.manual_seed(0)
    model = _spread(MODELS[name]())
    if name == "mae":
        model.config.mask_ratio = 0.75
    model.save_pretrained(folder)
    hf.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def own(name: str, folder: Path, size: int = 32) -> Any:
    options = {"mask_ratio": 0.0} if name == "mae" else {"add_pooling_layer": True} if name == "data2vec" else {}
    model = type(MODELS[name]()).from_pretrained(folder, **options).eval()
    processor = hf.AutoImageProcessor.from_pretrained(folder, size={"height": size, "width": size})
    pixels = processor(images=PICTURES, return_tensors="pt")["pixel_values"]
    count = (size // 8) ** 2
    noise = {"noise": torch.arange(count).float().expand(len(pixels), -1)} if name == "mae" else {}
    with torch.inference_mode():
        return model(pixel_values=pixels, interpolate_pos_encoding=True, **noise)


@pytest.mark.parametrize("size", [32, 48])
@pytest.mark.parametrize("name", MODELS)
def test_tokens_are_those_of_the_library(name: str, size: int, tmp_path: Path) -> None:
    folder = folder_of(name, tmp_path / "origin")
    hidden = own(name, folder, size).last_hidden_state.numpy()
    pooling = "mean" if name == "ijepa" else "cls"
    entry = spec("image", "transformers", str(folder), pooling=pooling, layers=[1, 2])
    manifest = materialise(entry, tmp_path / "made")
    encoder = load_image_encoder(tmp_path / "made", entry, view(resolution=size), "cpu")
    found = [encoder.forward(torch.stack([encoder.preprocess(image) for image in PICTURES])) for _ in range(2)]
    patch = found[0].patch[:, -1].numpy()
    first = hidden if name == "ijepa" else hidden[:, 1:]
    assert (manifest.patch_size, manifest.layers) == (8, 2)
    np.testing.assert_allclose(patch, first, atol=2e-4)
    cls = first.mean(axis=1) if name == "ijepa" else hidden[:, 0]
    np.testing.assert_allclose(found[0].cls[:, -1].numpy(), cls, atol=2e-4)
    assert torch.equal(found[0].patch, found[1].patch), "nothing is random"
    assert encoder.patch_grid == (size // 8, size // 8)


@pytest.mark.parametrize("name", ["beit", "data2vec"])
def test_their_own_pooled_output(name: str, tmp_path: Path) -> None:
    folder = folder_of(name, tmp_path / "origin")
    entry = spec("image", "transformers", str(folder), pooling="model")
    materialise(entry, tmp_path / "made")
    encoder = load_image_encoder(tmp_path / "made", entry, view(resolution=32), "cpu")
    found = encoder.forward(torch.stack([encoder.preprocess(image) for image in PICTURES])).cls[:, 0]
    np.testing.assert_allclose(found.numpy(), own(name, folder).pooler_output.numpy(), atol=2e-4)


@pytest.mark.parametrize(("name", "pooling"), [("ijepa", "cls"), ("mae", "model")])
def test_a_pooling_that_a_family_lacks_is_named(name: str, pooling: str, tmp_path: Path) -> None:
    entry = spec("image", "transformers", str(folder_of(name, tmp_path / "origin")), pooling=pooling)
    materialise(entry, tmp_path / "made")
    with pytest.raises(CheckpointError, match="set `pooling` to one of: "):
        load_image_encoder(tmp_path / "made", entry, view(resolution=32), "cpu")


def convnext(folder: Path) -> Path:
    torch.manual_seed(0)
    config = hf.DINOv3ConvNextConfig(hidden_sizes=[8, 8, 16, 24], depths=[1, 1, 2, 1], layer_scale_init_value=1.0)
    _spread(hf.DINOv3ConvNextModel(config)).save_pretrained(folder)
    hf.ViTImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("pooling", ["cls", "model", "mean"])
def test_the_convnext_of_dinov3(pooling: str, tmp_path: Path) -> None:
    folder = convnext(tmp_path / "origin")
    entry = spec("image", "transformers", str(folder), pooling=pooling)
    assert materialise(entry, tmp_path / "made").width == 24
    encoder = load_image_encoder(tmp_path / "made", entry, view(resolution=96), "cpu")
    pixels = torch.stack([encoder.preprocess(image) for image in PICTURES])
    with torch.inference_mode():
        output = hf.DINOv3ConvNextModel.from_pretrained(folder).eval()(pixel_values=pixels)
    patch = output.last_hidden_state[:, 1:]
    found, cls = encoder.forward(pixels), patch.mean(dim=1) if pooling == "mean" else output.pooler_output
    np.testing.assert_allclose(found.patch[:, 0].numpy(), patch.numpy(), atol=1e-4)
    np.testing.assert_allclose(found.cls[:, 0].numpy(), cls.numpy(), atol=1e-4)
    assert encoder.patch_grid == (3, 3)
    with pytest.raises(CheckpointError, match="resolution 80 is not a multiple"):
        load_image_encoder(tmp_path / "made", entry, view(resolution=80), "cpu")
    with pytest.raises(CheckpointError, match="a CNN has its last layer only"):
        deeper = spec("image", "transformers", str(folder), pooling=pooling, layers=[1])
        load_image_encoder(tmp_path / "made", deeper, view(resolution=96), "cpu")
