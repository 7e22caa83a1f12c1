"""What callers of open_clip, and of CLIP of transformers, read and call."""

import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.alignment.heads.freeze_align import FreezeAlign
from pipeline.alignment.saved import save_heads
from pipeline.errors import DataError
from pipeline.interop.clip_model import REFUSED, ClipModel, load_clip_model, tokenize
from tests.inference.conftest import Project, aligner

TEXTS = ["a jacket", "a picture of an anchor", "été"]


@pytest.fixture(scope="module")
def model(project: Project) -> ClipModel:
    return ClipModel(aligner(project)).eval()


@pytest.fixture(scope="module")
def pixels(project: Project, model: ClipModel) -> torch.Tensor:
    return torch.stack([model.transform(Image.open(path)) for path in project.pictures])


def test_scale_and_vectors_are_those_of_the_head(project: Project, model: ClipModel, pixels: torch.Tensor) -> None:
    one = aligner(project)
    assert model.logit_scale.exp().item() == pytest.approx(one.logit_scale, rel=1e-6)
    assert one.logit_scale == pytest.approx(1 / 0.07, rel=1e-6)  # where heads start
    assert model.logit_bias is None
    images, texts, scale = model(pixels, tokenize(TEXTS))
    assert not scale.requires_grad
    np.testing.assert_allclose(images.numpy(), one.encode_image(project.pictures), atol=1e-3)
    np.testing.assert_allclose(texts.numpy(), one.encode_text(TEXTS), atol=1e-6)
    for normalize in (True, False):
        np.testing.assert_array_equal(model.encode_image(pixels, normalize=normalize), images)
        np.testing.assert_array_equal(model.encode_text(tokenize(TEXTS), normalize=normalize), texts)
    per_image, per_text = model.get_logits(pixels, tokenize(TEXTS))
    np.testing.assert_allclose(per_image, (scale * images @ texts.T).numpy(), rtol=1e-6)
    np.testing.assert_array_equal(per_image.T, per_text)


def test_shares_of_classes_are_those_of_the_aligner(project: Project, model: ClipModel, pixels: torch.Tensor) -> None:
    names = ["jacket", "bridge", "daisy"]
    labels = aligner(project).classify(project.pictures[0], names, ["a {}"], top=None)
    logits, _ = model.get_logits(pixels[:1], tokenize([f"a {name}" for name in names]))
    found = dict(zip(names, logits.softmax(-1)[0].tolist(), strict=True))
    for label in labels:
        assert found[label.name] == pytest.approx(label.probability, abs=2e-3)


def test_forward_answers_in_the_form_of_open_clip(project: Project, pixels: torch.Tensor) -> None:
    named = ClipModel(aligner(project), output_dict=True)
    found = named(pixels[:2], tokenize(TEXTS))
    assert list(found) == ["image_features", "text_features", "logit_scale"]
    images, texts, _ = ClipModel(aligner(project))(text=tokenize(TEXTS))
    assert images is None
    np.testing.assert_array_equal(texts, found["text_features"])


def test_the_bias_of_a_sigmoid_loss_is_there(project: Project, tmp_path: Path) -> None:
    folder = tmp_path / "data/models/sigmoid"
    shutil.copytree(project.root / "data", tmp_path / "data")
    shutil.copytree(project.model("grid"), folder)
    config = json.loads((folder / "config.json").read_text())
    config["head"]["loss"] = {"kind": "sigmoid"}
    (folder / "config.json").write_text(json.dumps(config))
    for repeat in range(2):
        torch.manual_seed(repeat)
        head = FreezeAlign(16, 16, 12, temperature=0.1, logit_bias=-10.0 - repeat)
        save_heads(head, folder, repeat)
    model, transform, tokenizer = load_clip_model(str(folder), 1, "cpu")
    assert model.logit_bias is not None
    assert (model.logit_bias.item(), model.logit_scale.item()) == (-11.0, pytest.approx(math.log(10), abs=1e-6))
    pixels = transform(Image.open(project.pictures[0]))[None]
    images, texts, scale, bias = model(pixels, tokenizer(TEXTS))
    assert bias.item() == -11.0
    np.testing.assert_allclose(
        model.get_logits(pixels, tokenizer(TEXTS))[0], scale * images @ texts.T - 11.0, rtol=1e-5
    )
    model.output_dict = True
    assert model(pixels)["logit_bias"].item() == -11.0


def test_the_image_tower_says_what_it_takes(model: ClipModel, pixels: torch.Tensor) -> None:
    assert model.visual.image_size == (42, 42) == tuple(pixels.shape[-2:])
    assert (model.visual.image_mean, model.visual.image_std) == ([0.5] * 3, [0.5] * 3)
    assert model.visual.output_dim == 12
    from open_clip.model import get_model_preprocess_cfg, get_model_tokenize_cfg

    cfg = get_model_preprocess_cfg(model)
    assert cfg == {
        "size": (42, 42), "mode": "RGB", "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic",
    }  # fmt: skip
    np.testing.assert_array_equal(model.visual(pixels), model.encode_image(pixels))
    assert model.context_length == 32
    assert get_model_tokenize_cfg(model) == {"context_length": 32}
    assert torch.equal(tokenize(TEXTS, context_length=model.context_length), tokenize(TEXTS))


def test_the_names_of_transformers(model: ClipModel, pixels: torch.Tensor) -> None:
    tokens = tokenize(TEXTS)
    images = model.get_image_features(pixel_values=pixels)
    texts = model.get_text_features(input_ids=tokens, attention_mask=(tokens >= 0).long())
    np.testing.assert_array_equal(images.pooler_output, model.encode_image(pixels))
    np.testing.assert_array_equal(texts.pooler_output, model.encode_text(tokens))
    found = model(pixel_values=pixels, input_ids=tokens, attention_mask=(tokens >= 0).long())
    assert type(found).__name__ == "CLIPOutput"
    np.testing.assert_array_equal(found.logits_per_image, model.get_logits(pixels, tokens)[0])
    np.testing.assert_array_equal(found.logits_per_text.T, found.logits_per_image)
    np.testing.assert_array_equal(found.image_embeds, images.pooler_output)
    np.testing.assert_array_equal(found.text_embeds, texts.pooler_output)
    assert (model.device, model.dtype) == (torch.device("cpu"), torch.float32)


def test_moving_the_model_moves_the_aligner(project: Project, pixels: torch.Tensor) -> None:
    model = ClipModel(aligner(project))
    exact = model.encode_image(pixels[:2])
    assert model.to("cpu") is model
    assert model.aligner.dtype == torch.float32
    assert model.to(torch.bfloat16).aligner.dtype == torch.bfloat16
    assert model.dtype == torch.bfloat16
    rough = model.encode_image(pixels[:2])
    assert 0 < float((rough - exact).abs().max()) < 0.1
    np.testing.assert_array_equal(model.float().encode_image(pixels[:2]), exact)


def test_what_cannot_be_had_is_refused_with_a_reason(model: ClipModel, pixels: torch.Tensor) -> None:
    for name, reason in REFUSED.items():
        with pytest.raises(AttributeError, match=re.escape(f"no {name}: {reason}")):
            getattr(model, name)
    with pytest.raises(AttributeError, match="The image tower of an aligner has no trunk"):
        _ = model.visual.trunk
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = model.no_such_thing
    for tokens in (torch.tensor([[49406, 320, 49407]]), torch.tensor([[101, 255, 102]]), torch.tensor([[0.5]])):
        with pytest.raises(DataError, match="own tokenizer"):
            model.encode_text(tokens)
    with pytest.raises(DataError, match=r"takes \(42, 42\) pixels"):
        model.get_image_features(pixels, interpolate_pos_encoding=True)
    with pytest.raises(DataError, match="found output_attentions"):
        model(pixels, output_attentions=True)
    with pytest.raises(DataError, match="both \\(transformers\\)"):
        model(pixel_values=pixels)
    with pytest.raises(DataError, match="Expected stacked outputs"):
        model.encode_image(pixels[:, :, :28])
