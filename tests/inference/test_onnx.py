"""Towers as ONNX files: the same vectors by onnxruntime, at any batch and length, and in 8 bits nearly so."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from pipeline import Aligner
from pipeline.alignment.heads.base import Head
from pipeline.alignment.heads.ensemble import Ensemble
from pipeline.alignment.heads.fitted import Relative
from pipeline.alignment.heads.networks import GatedUnit, InvertedBottleneck
from pipeline.alignment.heads.two_networks import TwoNetworks
from pipeline.alignment.saved import head_entry
from pipeline.errors import DataError, ModelError
from tests.alignment.specs import trained
from tests.inference.conftest import Project
from tests.inference.test_stock import TEXTS, WIDTH, affine, cca, exact, freeze_align, linear, model_of, ridge_image

HEADS: dict[str, tuple[str, Callable[[], Head]]] = {
    "freeze-align on a grid that overlaps": ("grid", lambda: freeze_align(local=True)),
    "freeze-align on patches": ("patch", lambda: freeze_align(local=True)),
    "the default": ("mean", lambda: Ensemble([cca(), ridge_image()], [1.0, 2.0])),
    "asif": (
        "mean",
        lambda: TwoNetworks(
            "cls",
            nn.Sequential(affine(WIDTH, WIDTH), Relative(torch.randn(30, WIDTH), 9)),
            nn.Sequential(affine(WIDTH, WIDTH), Relative(torch.randn(30, WIDTH), 9)),
        ),
    ),
    "networks": (
        "mean",
        lambda: TwoNetworks("sum", InvertedBottleneck(WIDTH, 8, 0.0), GatedUnit(WIDTH, 8, 0.0)),
    ),
}


def of(project: Project, name: str) -> Aligner:
    torch.manual_seed(5)
    view, head = HEADS[name]
    entry = head_entry(trained(local_tokens=view))
    return model_of(project, head().eval(), view, head=entry)


def run(folder: Path, side: str, **inputs: np.ndarray) -> np.ndarray:
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(folder / f"{side}.onnx"), providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(["vectors"], inputs)[0]
    return found


def token_inputs(folder: Path, texts: list[str]) -> dict[str, np.ndarray]:
    """By the files beside the model alone."""
    from transformers import AutoTokenizer

    about = json.loads((folder / "onnx.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    shown = [about["prefix"] + text for text in texts]
    options: dict[str, Any] = {"padding": True, "truncation": True, "max_length": about["max_tokens"]}
    numbers = tokenizer(shown, return_tensors="np", **options)
    return {name: numbers[name].astype(np.int64) for name in ("input_ids", "attention_mask")}


def pixel_inputs(folder: Path, pictures: list[Image.Image]) -> np.ndarray:
    from transformers import AutoImageProcessor

    processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
    found: np.ndarray = processor(images=pictures, return_tensors="np")["pixel_values"]
    return found


@pytest.mark.parametrize("name", HEADS)
def test_the_same_vectors_by_onnxruntime(project: Project, tmp_path: Path, name: str) -> None:
    pytest.importorskip("onnxruntime")
    model = of(project, name)
    found = model.export_onnx(tmp_path / "out")
    assert max(entry["difference"] for entry in found.values()) <= 1e-4
    pictures = [Image.open(path).convert("RGB") for path in project.pictures]
    expected = exact(model).encode_image(pictures), exact(model).encode_text(TEXTS)
    for count in (1, 3, 10):
        pixels = pixel_inputs(tmp_path / "out", pictures[:count])
        np.testing.assert_allclose(run(tmp_path / "out", "image", pixels=pixels), expected[0][:count], atol=1e-4)
        numbers = token_inputs(tmp_path / "out", TEXTS[:count])
        np.testing.assert_allclose(run(tmp_path / "out", "text", **numbers), expected[1][:count], atol=1e-4)
    gaps = np.linalg.norm(expected[0][:, None] - expected[0][None], axis=2)[~np.eye(10, dtype=bool)]
    assert gaps.min() > 5e-4


def test_a_fixed_batch_takes_no_other(project: Project, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    model = of(project, "the default")
    model.export_onnx(tmp_path / "out", batch=4)
    pictures = [Image.open(path).convert("RGB") for path in project.pictures[:5]]
    pixels = pixel_inputs(tmp_path / "out", pictures)
    found = run(tmp_path / "out", "image", pixels=pixels[:4])
    np.testing.assert_allclose(found, exact(model).encode_image(pictures[:4]), atol=1e-4)
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument):
        run(tmp_path / "out", "image", pixels=pixels)


def test_in_8_bits_the_head_stays_as_it_is(project: Project, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    import onnx

    model = of(project, "the default")
    found = model.export_onnx(tmp_path / "small", int8=True)
    for entry in found.values():
        assert entry["cosine"] > 0.9
        assert entry["difference"] > 0
    for side in ("image", "text"):
        names = [node.name for node in onnx.load(tmp_path / f"small/{side}.onnx").graph.node]
        assert any("quant" in name for name in names)
        assert not any(name.startswith("/head/") and "quant" in name for name in names)
    assert not list((tmp_path / "small").glob("*.float.onnx"))


def test_without_the_libraries_or_a_place_it_says_so(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of(project, TwoNetworks("cls", linear(WIDTH), linear(WIDTH)).eval())
    with pytest.raises(DataError, match="batch must be at least 1"):
        model.export_onnx(tmp_path / "out", batch=0)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ModelError, match="holds something already"):
        model.export_onnx(tmp_path / "file")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModelError, match="needs onnx and onnxruntime.*pip install onnx onnxruntime"):
        model.export_onnx(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_that_gives_other_vectors_is_not_kept(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr("pipeline.inference.stock.onnx.TOLERANCE", 1e-12)
    with pytest.raises(ModelError, match="image gives other vectors by onnxruntime"):
        of(project, "the default").export_onnx(tmp_path / "out")
    assert not list(tmp_path.iterdir())
