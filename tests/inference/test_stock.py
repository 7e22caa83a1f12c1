"""Aligners as folders of sentence-transformers: the same vectors, in a process that cannot import this project."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from pipeline import Aligner
from pipeline.alignment import ProjectionHeads
from pipeline.alignment.data.inputs import ImageInput
from pipeline.alignment.heads.base import Head
from pipeline.alignment.heads.ensemble import Ensemble
from pipeline.alignment.heads.fitted import RBF, Affine, Fourier, Relative
from pipeline.alignment.heads.freeze_align import FreezeAlign
from pipeline.alignment.heads.identity import Identity
from pipeline.alignment.heads.networks import MLP, GatedLowRank, GatedUnit, InvertedBottleneck
from pipeline.alignment.heads.two_networks import TwoNetworks
from pipeline.alignment.heads.whitened import Whitened
from pipeline.alignment.saved import head_entry
from pipeline.errors import ModelError
from pipeline.inference.stock.heads import IMAGE, TEXT
from pipeline.inference.stock.joined import joined
from pipeline.inference.stock.modules import image_modules
from pipeline.inference.stock.steps import Linear, run
from tests.alignment.specs import trained
from tests.inference.conftest import WORDS, Project, aligner

WIDTH, SHARED = 16, 12
TEXTS = [f"a picture of a {word}" for word in WORDS]

ALONE = """
import importlib.abc, json, sys
class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("pipeline", "stages", "permafrost"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Block())
import torch
try:
    import torchvision
except RuntimeError:  # built for another PyTorch: declare what its import asks for
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        library.define(name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
try:
    import pipeline
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("the project can be imported")
import numpy as np
from PIL import Image
from sentence_transformers import SentenceTransformer
folder, out, pictures, texts = json.loads(sys.argv[1])
model = SentenceTransformer(folder, device="cpu", local_files_only=True)
assert model.modalities == ["image", "text"], model.modalities
np.savez(out, image=model.encode([Image.open(path).convert("RGB") for path in pictures]),
         text=model.encode([{"text": text} for text in texts]), query=model.encode_query(texts))
"""


def alone(folder: Path, out: Path, pictures: list[Path], texts: list[str]) -> Any:
    arguments = json.dumps([str(folder), str(out), [str(path) for path in pictures], texts])
    done = subprocess.run([sys.executable, "-c", ALONE, arguments], cwd=out.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return np.load(out)


def linear(d_in: int, d_out: int = SHARED) -> nn.Sequential:
    return nn.Sequential(nn.Dropout(0.0), nn.Linear(d_in, d_out))


def affine(d_in: int, d_out: int = SHARED, spread: float = 0.3) -> Affine:
    return Affine(spread * torch.randn(d_in), torch.randn(d_in, d_out) / d_in**0.5)


def kernel(d_in: int, d_out: int = SHARED) -> nn.Sequential:
    rows = torch.randn(40, d_in)
    return nn.Sequential(
        Affine(rows.mean(0)), RBF(rows, 1 / (2 * d_in)), Affine(torch.zeros(40), torch.randn(40, d_out))
    )


def cca() -> TwoNetworks:
    return TwoNetworks("concat", nn.Sequential(affine(2 * WIDTH)), nn.Sequential(affine(WIDTH)))


def ridge_image(kind: Any = "concat") -> TwoNetworks:
    return TwoNetworks(kind, kernel(2 * WIDTH if kind == "concat" else WIDTH, 10), nn.Sequential(affine(WIDTH, 10)))


def ridge_text() -> TwoNetworks:
    return TwoNetworks("sum", nn.Sequential(affine(WIDTH, 10)), kernel(WIDTH, 10))


def gated() -> TwoNetworks:
    networks = GatedLowRank(WIDTH, SHARED, 0.0), GatedLowRank(WIDTH, SHARED, 0.0)
    for network in networks:
        nn.init.constant_(network.gate, 0.7)
    return TwoNetworks("mean", *networks)


def whitened(head: Head) -> Whitened:
    return Whitened(head, (affine(WIDTH, WIDTH), affine(WIDTH, WIDTH)), affine(WIDTH, WIDTH))


def freeze_align(local: bool) -> FreezeAlign:
    head = FreezeAlign(WIDTH, WIDTH, SHARED, 0.0, local=local)
    for module in head.modules():
        if isinstance(module, nn.LayerNorm):
            nn.init.normal_(module.weight, 1, 0.2)
            nn.init.normal_(module.bias, 0, 0.2)
    return head


HEADS: dict[str, Callable[[], Head]] = {
    "linear, cls": lambda: TwoNetworks("cls", linear(WIDTH), linear(WIDTH)),
    "linear, sum": lambda: TwoNetworks("sum", linear(WIDTH), linear(WIDTH)),
    "linear, whitened": lambda: whitened(TwoNetworks("concat", linear(2 * WIDTH), linear(WIDTH))),
    "mlp": lambda: TwoNetworks("concat", MLP(2 * WIDTH, SHARED, 0.0), MLP(WIDTH, SHARED, 0.0)),
    "gated low rank": gated,
    "gated low rank, whitened": lambda: whitened(gated()),
    "freeze-align without local tokens": lambda: freeze_align(local=False),
    "cca": cca,
    "kernel ridge": ridge_image,
    "kernel ridge, whitened": lambda: whitened(ridge_image("sum")),
    "the default: cca and kernel ridge": lambda: Ensemble([cca(), ridge_image()], [1.0, 1.0]),
    "kernel ridge first, weighted": lambda: Ensemble([ridge_image(), cca()], [3.0, 1.0]),
    "a kernel of texts": lambda: Ensemble([cca(), ridge_text()], [1.0, 2.0]),
    "two linear ones": lambda: Ensemble([cca(), TwoNetworks("cls", linear(WIDTH, 7), linear(WIDTH, 7))], [1.0, 1.0]),
}
REFUSED: dict[str, tuple[Callable[[], Head], str]] = {
    "freeze-align": (lambda: freeze_align(local=True), "projector of every local token"),
    "gated unit": (lambda: TwoNetworks("cls", GatedUnit(WIDTH, SHARED, 0.0), linear(WIDTH)), "GatedUnit"),
    "bottleneck": (
        lambda: TwoNetworks("cls", InvertedBottleneck(WIDTH, SHARED, 0.0), linear(WIDTH)),
        "BottleneckBlock",
    ),
    "fourier": (
        lambda: TwoNetworks(
            "cls",
            nn.Sequential(Affine(torch.zeros(WIDTH)), Fourier(torch.randn(WIDTH, 8), torch.rand(8)), affine(8)),
            linear(WIDTH),
        ),
        "cosines of random features",
    ),
    "asif": (
        lambda: TwoNetworks("cls", nn.Sequential(affine(WIDTH, WIDTH), Relative(torch.randn(9, WIDTH))), linear(WIDTH)),
        "nearest anchors of ASIF",
    ),
    "nystrom": (
        lambda: TwoNetworks("cls", nn.Sequential(*kernel(WIDTH)[:2], affine(40)), linear(WIDTH)),
        "features: nystrom",
    ),
    "three parts": (lambda: Ensemble([cca(), cca(), cca()], [1.0] * 3), "sum of 3 cosines"),
    "two kernels": (lambda: Ensemble([ridge_image(), ridge_image()], [1.0] * 2), "two kernels' cosines"),
    "a network in a sum": (
        lambda: Ensemble([cca(), TwoNetworks("cls", MLP(WIDTH, 5, 0.0), MLP(WIDTH, 5, 0.0))], [1.0] * 2),
        "one is of a network",
    ),
}


def model_of(project: Project, network: Head, view: str = "mean", **config: Any) -> Aligner:
    """An aligner of the small project with another head."""
    base = aligner(project, view)
    if config.get("head", {}).get("kind") != "identity":
        shown = ImageInput(torch.ones(1, WIDTH), torch.ones(1, 1, WIDTH))
        config["embed_dim"] = network.image_features(shown).shape[1]
    heads = ProjectionHeads(replace(base.config, **config), network, torch.device("cpu"))
    model = Aligner(heads, base._encoders, 0)
    model._folder = base._folder
    return model


def exact(model: Aligner) -> Aligner:
    """The same aligner on features that no store has rounded."""
    return Aligner(model._heads, model._encoders.exact(), 0)


@pytest.mark.parametrize("name", HEADS)
def test_the_same_vectors_by_stock_modules(project: Project, tmp_path: Path, name: str) -> None:
    torch.manual_seed(3)
    model = model_of(project, HEADS[name]().eval())
    differences = model.export_sentence_transformers(tmp_path / "out")
    assert set(differences) == {"image", "text"}
    assert max(differences.values()) <= 1e-5
    from sentence_transformers import SentenceTransformer

    loaded = SentenceTransformer(str(tmp_path / "out"), device="cpu", local_files_only=True)
    pictures = [Image.open(path).convert("RGB") for path in project.pictures]
    found = loaded.encode(pictures), loaded.encode(TEXTS)
    expected = exact(model).encode_image(pictures), exact(model).encode_text(TEXTS)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
        gaps = np.linalg.norm(other[:, None] - other[None], axis=2)[~np.eye(len(other), dtype=bool)]
        assert gaps.min() > 3e-4, "inputs must be told apart for this test to mean much"
    rounded = model.encode_image(pictures)
    assert ((rounded * found[0]).sum(axis=1) > 0.999).all()


def test_in_a_process_without_this_project(project: Project, tmp_path: Path) -> None:
    torch.manual_seed(3)
    model = model_of(project, HEADS["the default: cca and kernel ridge"]().eval())
    model.export_sentence_transformers(tmp_path / "out", model_name="me/kites")
    found = alone(tmp_path / "out", tmp_path / "found.npz", project.pictures, TEXTS)
    pictures = [Image.open(path).convert("RGB") for path in project.pictures]
    np.testing.assert_allclose(found["image"], exact(model).encode_image(pictures), atol=1e-5)
    np.testing.assert_allclose(found["text"], exact(model).encode_text(TEXTS), atol=1e-5)
    np.testing.assert_allclose(found["query"], found["text"], atol=1e-6)  # the prefix stands before queries too
    classes = {entry["type"] for entry in json.loads((tmp_path / "out/modules.json").read_text())}
    assert all(name.startswith("sentence_transformers.") for name in classes)
    assert not list((tmp_path / "out").rglob("*.py"))
    card = (tmp_path / "out/README.md").read_text()
    assert "library_name: sentence-transformers" in card
    assert "SentenceTransformer('me/kites')" in card


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_stock_form_says_so_and_names_onnx(project: Project, tmp_path: Path, name: str) -> None:
    head, message = REFUSED[name]
    model = model_of(project, head().eval())
    with pytest.raises(ModelError, match=f"{message}.*export_onnx"):
        model.export_sentence_transformers(tmp_path / "out")
    assert not list(tmp_path.iterdir()), "nothing half made is left"


def test_a_dual_encoder_and_views_without_a_stock_form(project: Project, tmp_path: Path) -> None:
    entry = {**head_entry(trained()), "kind": "identity"}
    with pytest.raises(ModelError, match="which sentence-transformers loads by itself"):
        model_of(project, Identity(0.0), head=entry).export_sentence_transformers(tmp_path / "out")
    head = TwoNetworks("concat", linear(2 * WIDTH), linear(WIDTH)).eval()
    with pytest.raises(ModelError, match="several layers"):
        image_modules(aligner(project, "mean")._encoders.exact(), "mean", last_layer=False)
    with pytest.raises(ModelError, match="a 2 x 2 grid over 3 x 3 patches, which overlaps"):
        model_of(project, head, "grid").export_sentence_transformers(tmp_path / "out")
    assert max(model_of(project, head, "patch").export_sentence_transformers(tmp_path / "patch").values()) < 1e-5
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("mine")
    with pytest.raises(ModelError, match="holds something already"):
        model_of(project, head).export_sentence_transformers(tmp_path / "full")


def test_a_tower_that_differs_is_not_kept(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(project, cca().eval())
    monkeypatch.setattr("pipeline.inference.stock.export.TOLERANCE", 1e-12)
    with pytest.raises(ModelError, match=r"image tower gives other vectors.*export_onnx"):
        model.export_sentence_transformers(tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("spread", [1.0, 5.0])
def test_two_parts_in_the_right_proportion_whatever_their_lengths(spread: float) -> None:
    """By definition, in float32, where the ratio of their lengths varies by more than ten."""
    torch.manual_seed(0)
    x = torch.randn(400, 64, dtype=torch.float64)
    first = Linear(torch.randn(256, 64, dtype=torch.float64))
    second = Linear(torch.randn(128, 64, dtype=torch.float64), spread * torch.randn(128, dtype=torch.float64))
    x *= torch.logspace(-0.5, 0.5, 400, dtype=torch.float64)[:, None]
    steps = joined([[first], [second]], [2.0, 1.0], x[::20])
    unit = nn.functional.normalize
    expected = torch.cat([(2 / 3) ** 0.5 * unit(first(x)), (1 / 3) ** 0.5 * unit(second(x))], dim=1)
    ratios = first(x).norm(dim=1) / second(x).norm(dim=1)
    assert ratios.max() / ratios.min() > (2 if spread > 1 else 1)
    assert (unit(run(steps, x.float())) - expected).abs().max() < 1e-5


def test_sides_are_named_as_the_config_names_them(project: Project) -> None:
    assert {IMAGE, TEXT} == set(aligner(project).config.widths)
