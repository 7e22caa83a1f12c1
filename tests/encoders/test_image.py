"""Image features equal what the model's own library gives, and what does not exist is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import transformers as hf
from safetensors.torch import save_file

from pipeline.encoders.checkpoint import materialise
from pipeline.encoders.image import ImageEncoder, load_image_encoder
from pipeline.encoders.timm_tower import describe_timm
from pipeline.errors import CheckpointError
from tests.encoders.conftest import picture, spec, view

BODY = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
MLP = {"intermediate_size": 48}
Build = Callable[[], Any]
FAMILIES: dict[str, tuple[Build, str, int]] = {  # model, where its final norm is, prefix tokens
    "dinov2": (lambda: hf.Dinov2Model(hf.Dinov2Config(**BODY)), "layernorm", 1),
    "registers": (
        lambda: hf.Dinov2WithRegistersModel(hf.Dinov2WithRegistersConfig(**BODY, num_register_tokens=4)),
        "layernorm",
        5,
    ),
    "dinov3": (lambda: hf.DINOv3ViTModel(hf.DINOv3ViTConfig(**BODY, **MLP, num_register_tokens=2)), "norm", 3),
    "vit": (lambda: hf.ViTModel(hf.ViTConfig(**BODY, **MLP)), "layernorm", 1),
    "clip": (lambda: hf.CLIPVisionModel(hf.CLIPVisionConfig(**BODY, **MLP)), "post_layernorm", 1),
    "siglip": (lambda: hf.SiglipVisionModel(hf.SiglipVisionConfig(**BODY, **MLP)), "post_layernorm", 0),
}
CROPPING = {"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}}
ON_DEMAND = ("vit", "clip", "siglip")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny checkpoint of each family, materialised from a local folder."""
    result = {}
    for name, (build, _norm, _prefix) in FAMILIES.items():
        origin = tmp_path_factory.mktemp("origin") / name
        torch.manual_seed(0)
        build().save_pretrained(origin)
        hf.BitImageProcessor(**CROPPING).save_pretrained(origin)
        result[name] = tmp_path_factory.mktemp("folder") / name
        materialise(spec("image", "transformers", str(origin)), result[name])
    return result


def load(folder: Path, resolution: int = 32, loader: str = "transformers", **options: Any) -> ImageEncoder:
    return load_image_encoder(folder, spec("image", loader, **options), view(resolution=resolution), "cpu")


@pytest.mark.parametrize("resolution", [32, 48])
@pytest.mark.parametrize("name", FAMILIES)
def test_transformers_families(folders: dict[str, Path], name: str, resolution: int) -> None:
    pooling = "mean" if name == "siglip" else "cls"
    encoder = load(folders[name], resolution, layers=[-1, 1], pooling=pooling)
    pixels = torch.stack([encoder.preprocess(picture(seed=seed)) for seed in range(2)])
    features = encoder.forward(pixels)

    build, norm, prefix = FAMILIES[name]
    model = type(build()).from_pretrained(folders[name]).eval()
    options = {"interpolate_pos_encoding": True} if name in ON_DEMAND else {}
    with torch.inference_mode():
        output = model(pixels, output_hidden_states=True, **options)
        layers = [getattr(model, norm)(output.hidden_states[i]) for i in (3, 1)]
    side = resolution // 8
    assert encoder.patch_grid == (side, side)
    assert features.patch.shape == (2, 2, side * side, 24)
    assert features.cls.dtype == features.patch.dtype == torch.float32
    for i, tokens in enumerate(layers):
        torch.testing.assert_close(features.patch[:, i], tokens[:, prefix:])
        expected = tokens.mean(dim=1) if name == "siglip" else tokens[:, 0]
        torch.testing.assert_close(features.cls[:, i], expected)

    pooled = load(folders[name], resolution, pooling="model").forward(pixels)
    torch.testing.assert_close(pooled.cls[:, 0], output.pooler_output)
    torch.testing.assert_close(pooled.patch[:, 0], layers[0][:, prefix:])
    if name != "clip":  # CLIP leaves its patch tokens without a norm
        torch.testing.assert_close(pooled.patch[:, 0], output.last_hidden_state[:, prefix:])


def test_vision_tower_of_a_whole_clip(tmp_path: Path) -> None:
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    model = hf.CLIPModel(hf.CLIPConfig(text_config=text, vision_config=BODY | MLP)).eval()
    model.save_pretrained(tmp_path / "origin")
    hf.CLIPImageProcessor(**CROPPING).save_pretrained(tmp_path / "origin")
    materialise(spec("image", "transformers", str(tmp_path / "origin")), tmp_path / "clip")
    encoder = load(tmp_path / "clip")
    pixels = encoder.preprocess(picture())[None]
    with torch.inference_mode():
        expected = model.vision_model(pixels).pooler_output
    torch.testing.assert_close(encoder.forward(pixels).cls[:, 0], expected)
    with pytest.raises(CheckpointError, match="run: dvc repro checkpoint@clip"):  # that is the projected output now
        load(tmp_path / "clip", pooling="model")


@pytest.mark.parametrize("resolution", [32, 48])
def test_preprocessing_keeps_the_models_own_ratio(folders: dict[str, Path], resolution: int) -> None:

    processor = hf.BitImageProcessor(
        size={"shortest_edge": resolution * 40 // 32}, crop_size={"height": resolution, "width": resolution}
    )
    expected = processor(picture(), return_tensors="pt")["pixel_values"][0]
    actual = load(folders["dinov2"], resolution).preprocess(picture())
    assert actual.dtype == torch.float32
    assert torch.equal(actual, expected)


def test_batch_size_does_not_matter(folders: dict[str, Path]) -> None:
    encoder = load(folders["dinov2"])
    pixels = torch.stack([encoder.preprocess(picture(seed=seed)) for seed in range(5)])
    together = encoder.forward(pixels)
    for i in range(5):
        alone = encoder.forward(pixels[i : i + 1])
        torch.testing.assert_close(alone.cls[0], together.cls[i], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(alone.patch[0], together.patch[i], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_returns_float32(folders: dict[str, Path], dtype: str) -> None:
    exact, half = load(folders["vit"]), load(folders["vit"], dtype=dtype)
    pixels = exact.preprocess(picture())[None]
    features = half.forward(pixels)
    assert features.cls.dtype == torch.float32
    torch.testing.assert_close(features.cls, exact.forward(pixels).cls, rtol=0.1, atol=0.1)


def timm_folder(tmp_path: Path, architecture: str) -> Path:
    torch.manual_seed(0)
    model = timm.create_model(architecture, pretrained=False, num_classes=10)
    origin = tmp_path / "origin"
    origin.mkdir()
    save_file(model.state_dict(), origin / "model.safetensors", metadata={"format": "pt"})
    own = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4], "interpolation": "bicubic", "crop_pct": 0.875}
    settings = model.default_cfg | own | {"num_classes": 10}
    config = {"architecture": architecture, "num_classes": 10, "pretrained_cfg": settings}
    (origin / "config.json").write_text(json.dumps(config))
    folder = tmp_path / "timm"
    materialise(spec("image", "timm", str(origin)), folder)
    return folder


@pytest.mark.parametrize(("name", "depth"), [("test_vit", 6), ("deit_tiny_distilled_patch16_224", 12)])
def test_timm_vit(tmp_path: Path, name: str, depth: int) -> None:
    folder = timm_folder(tmp_path, name)
    encoder = load(folder, 64, "timm", layers=[depth, 2, 1 - depth])
    model = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0, img_size=64).eval()
    transform = timm.data.create_transform(
        (3, 64, 64), interpolation="bicubic", mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4), crop_pct=0.875
    )
    pixels = encoder.preprocess(picture())[None]
    assert torch.equal(pixels[0], transform(picture()))
    features = encoder.forward(pixels)
    with torch.inference_mode():
        last, outputs = model.forward_intermediates(
            pixels, indices=[1, depth - 1], norm=True, output_fmt="NLC", return_prefix_tokens=True
        )
        pooled = model.forward_head(last, pre_logits=True)
    for i, (patch, prefix) in enumerate([outputs[1], outputs[0], outputs[0]]):
        torch.testing.assert_close(features.patch[:, i], patch)
        torch.testing.assert_close(features.cls[:, i], prefix[:, 0])
    assert encoder.layers == (depth, 2, 2)
    assert encoder.patch_grid == (4, 4)
    own = load(folder, 64, "timm", pooling="model").forward(pixels)
    torch.testing.assert_close(own.cls[:, 0], pooled)
    torch.testing.assert_close(own.patch[:, 0], features.patch[:, 0])


def test_timm_cnn(tmp_path: Path) -> None:
    folder = timm_folder(tmp_path, "test_resnet")
    encoder = load(folder, 96, "timm", pooling="model")
    model = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0).eval()
    pixels = torch.stack([encoder.preprocess(picture(seed=seed)) for seed in range(2)])
    features = encoder.forward(pixels)
    with torch.inference_mode():
        feature_map = model.forward_features(pixels)
        pooled = model(pixels)
    assert encoder.patch_grid == (3, 3)
    torch.testing.assert_close(features.cls[:, 0], pooled, rtol=1e-4, atol=1e-5)
    for row in range(3):
        for column in range(3):
            position = features.patch[:, 0, row * 3 + column]
            torch.testing.assert_close(position, feature_map[:, :, row, column], rtol=1e-4, atol=1e-5)
    with pytest.raises(CheckpointError, match="no CLS token; set `pooling` to one of: model, mean"):
        load(folder, 96, "timm")
    with pytest.raises(CheckpointError, match="a CNN has its last layer only"):
        load(folder, 96, "timm", pooling="model", layers=[2])


def test_cnn_that_widens_after_pooling_has_the_mean_only(tmp_path: Path) -> None:
    folder = timm_folder(tmp_path, "mobilenetv3_small_050")
    with pytest.raises(CheckpointError, match="no pooled output of its own; set `pooling` to one of: mean"):
        load(folder, 64, "timm", pooling="model")
    encoder = load(folder, 64, "timm", pooling="mean")
    features = encoder.forward(encoder.preprocess(picture())[None])
    torch.testing.assert_close(features.cls, features.patch.mean(dim=2))


@pytest.mark.parametrize("layer", [4, -4])
def test_layer_out_of_range(folders: dict[str, Path], layer: int) -> None:
    with pytest.raises(CheckpointError, match=r"do not exist; there are 3: 1 to 3, or -3 to -1"):
        load(folders["dinov2"], layers=[layer])


def test_resolution_is_a_multiple_of_the_patch_size(folders: dict[str, Path]) -> None:
    with pytest.raises(CheckpointError, match="resolution 50 .* patch size 8; the nearest are 48 and 56"):
        load(folders["dinov2"], 50)


def test_no_cls_token(folders: dict[str, Path]) -> None:
    with pytest.raises(CheckpointError, match="no CLS token; set `pooling` to one of: model, mean"):
        load(folders["siglip"])


def test_model_pooling_has_the_last_layer_only(folders: dict[str, Path]) -> None:
    with pytest.raises(CheckpointError, match="pooling model exists for the last layer only"):
        load(folders["vit"], pooling="model", layers=[1, -1])


def test_pooler_that_was_never_trained(tmp_path: Path) -> None:
    origin = tmp_path / "origin"
    hf.ViTModel(hf.ViTConfig(**BODY, **MLP), add_pooling_layer=False).save_pretrained(origin)
    hf.BitImageProcessor(**CROPPING).save_pretrained(origin)
    materialise(spec("image", "transformers", str(origin)), tmp_path / "vit")
    load(tmp_path / "vit")
    with pytest.raises(CheckpointError, match="lacks weights that ViTModel needs for pooling model: pooler"):
        load(tmp_path / "vit", pooling="model")


def test_unknown_family(tmp_path: Path) -> None:
    origin = tmp_path / "origin"
    hf.BertModel(hf.BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1)).save_pretrained(origin)
    with pytest.raises(CheckpointError, match=r"type 'bert' are not supported .* these are: beit, clip_vision_model"):
        materialise(spec("image", "transformers", str(origin)), tmp_path / "x")


def test_other_loader_than_the_checkpoint(folders: dict[str, Path]) -> None:
    with pytest.raises(CheckpointError, match="loader transformers, params.yaml asks for images and loader timm"):
        load(folders["dinov2"], loader="timm")


def test_processor_without_fixed_size(tmp_path: Path) -> None:
    hf.Dinov2Model(hf.Dinov2Config(**BODY)).save_pretrained(tmp_path / "origin")
    hf.BitImageProcessor(size={"shortest_edge": 32}, do_center_crop=False).save_pretrained(tmp_path / "origin")
    with pytest.raises(CheckpointError, match="square of fixed size"):
        materialise(spec("image", "transformers", str(tmp_path / "origin")), tmp_path / "x")


def test_timm_tokens_without_a_class_token(tmp_path: Path) -> None:
    folder = timm_folder(tmp_path, "mixer_s32_224")
    encoder = load(folder, 224, "timm", pooling="model")
    model = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0).eval()
    pixels = encoder.preprocess(picture())[None]
    features = encoder.forward(pixels)
    with torch.inference_mode():
        torch.testing.assert_close(features.cls[:, 0], model(pixels), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(features.patch[:, 0], model.forward_features(pixels), rtol=1e-4, atol=1e-5)
    assert encoder.patch_grid == (7, 7)
    with pytest.raises(CheckpointError, match="does not take inputs of 64 pixels.*set its own `resolution`, 224"):
        load(folder, 64, "timm", pooling="model")


@pytest.mark.parametrize(("channels", "size"), [(1, (64, 64)), (3, (64, 32)), (4, (64, 64))])
def test_a_timm_model_for_other_than_square_rgb_is_named(channels: int, size: tuple[int, int], tmp_path: Path) -> None:
    model = timm.create_model("test_vit", pretrained=False, num_classes=5, in_chans=channels, img_size=size)
    args = {"in_chans": channels, "img_size": size}
    (tmp_path / "made").mkdir()
    save_file(model.state_dict(), tmp_path / "made/model.safetensors", metadata={"format": "pt"})
    own = model.default_cfg | {"input_size": (channels, *size), "num_classes": 5}
    config = {"architecture": "test_vit", "num_classes": 5, "pretrained_cfg": own, "model_args": args}
    (tmp_path / "made/config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=f"test_vit takes {channels} channels of {size[0]} x {size[1]} pixels"):
        describe_timm(tmp_path / "made")
