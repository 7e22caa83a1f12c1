"""Features of dual encoders are those of their own libraries, after their own preprocessing and tokenizer."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf

from pipeline.config import AnyView, EncodeParams, EncoderSpec, TextView
from pipeline.encoders import open_clip_parts
from pipeline.encoders.checkpoint import materialise
from pipeline.encoders.image import load_image_encoder
from pipeline.encoders.open_clip_parts import import_open_clip
from pipeline.encoders.text import load_text_encoder
from pipeline.encoding.identity import fingerprint_of
from pipeline.encoding.plan import Plan
from pipeline.encoding.rows import ImageRows, TextRows
from pipeline.encoding.run import StoreEncoder
from pipeline.errors import CheckpointError
from pipeline.features import FeatureStore
from pipeline.paths import WORK_VARIABLE
from tests.encoders import dual_models
from tests.encoders.conftest import picture, spec
from tests.encoders.conftest import view as view_of
from tests.encoders.dual_models import TEXTS

PICTURES = [picture(150, 110, 0), picture(90, 130, 1), picture(60, 60, 2), picture(40, 200, 3), picture(150, 110, 4)]
PARAMS = EncodeParams(batch_size=2, text_batch_size=2)
KINDS = [("transformers", kind) for kind in ("clip", "siglip", "metaclip", "lit")]
KINDS += [("open_clip", kind) for kind in ("plain", "xlm-roberta", "nllb", "siglip")]
Reference = tuple[np.ndarray, np.ndarray, float]  # image_features, text_features, logit_scale
Folder = Callable[[str, str], Path]


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """The folder of a small model as its library wrote it, made once."""
    root, made = tmp_path_factory.mktemp("dual"), set()

    def build(loader: str, kind: str) -> Path:
        folder: Path = root / f"{loader}-{kind}"
        if folder not in made:
            (dual_models.open_clip_folder if loader == "open_clip" else dual_models.transformers_folder)(folder, kind)
            made.add(folder)
        return folder

    return build


def side(folder: Path) -> int:
    return 160 if folder.name == "open_clip-siglip" else 32


def own_features(folder: Path, texts: tuple[str, ...] | list[str] = TEXTS) -> Reference:
    """What the library gives for PICTURES and `texts`, all in one batch."""
    with torch.inference_mode():
        if folder.name.startswith("open_clip"):
            library = import_open_clip()
            model = dual_models.library_model(folder).eval()
            transforms = library.transform
            transform = transforms.image_transform_v2(transforms.PreprocessCfg(**model.visual.preprocess_cfg), False)
            pixels = torch.stack([transform(image) for image in PICTURES])
            ids = library.get_tokenizer(f"local-dir:{folder}")(list(texts))
            return model.encode_image(pixels).numpy(), model.encode_text(ids).numpy(), model.logit_scale.item()
        model = hf.AutoModel.from_pretrained(folder).eval()
        processor, tokenizer = hf.AutoImageProcessor.from_pretrained(folder), hf.AutoTokenizer.from_pretrained(folder)
        padding = "max_length" if folder.name.endswith("siglip") else "longest"
        tokens = tokenizer(list(texts), padding=padding, truncation=True, return_tensors="pt")
        images = model.get_image_features(**processor(images=PICTURES, return_tensors="pt")).pooler_output
        return images.numpy(), model.get_text_features(**tokens).pooler_output.numpy(), model.logit_scale.item()


def made(folder: Path, modality: str, out: Path, **options: Any) -> tuple[Path, EncoderSpec, AnyView]:
    """Through the stage `checkpoint`."""
    loader = folder.name.partition("-")[0]
    entry = spec(modality, loader, str(folder), pooling="model")
    target = out / f"{folder.name}-{modality}"
    materialise(entry, target)
    chosen = {"resolution": side(folder), "tier": "cls"} if modality == "image" else {}
    return target, entry, view_of(**(chosen | options))


def stored(folder: Path, modality: str, out: Path, texts: tuple[str, ...] = TEXTS) -> FeatureStore:
    """Through the stages `checkpoint` and `encode`."""
    checkpoint, entry, view = made(folder, modality, out)
    count = len(PICTURES) if modality == "image" else len(texts)
    ids = tuple(f"row{number}" for number in range(count))

    def load() -> ImageRows | TextRows:
        if modality == "image":
            encoder = load_image_encoder(checkpoint, entry, view, "cpu")
            return ImageRows(encoder, view, lambda identifier: PICTURES[ids.index(identifier)], PARAMS)
        strings = dict(zip(ids, texts, strict=True))
        return TextRows(load_text_encoder(checkpoint, entry, view, "cpu"), view, strings, PARAMS)

    fingerprint = fingerprint_of(materialise(entry, checkpoint), entry, view)
    StoreEncoder("store", fingerprint, load, 0.0).run(Plan(ids, 3), out / "store")
    return FeatureStore.open(out / "store")


def assert_rounded(found: np.ndarray, expected: np.ndarray) -> None:
    """`found` is `expected` rounded to float16, but for the order of sums in another batch.

    Args:
        found: (N, D) float16.
        expected: (N, D) float32.
    """
    assert found.dtype == np.float16
    half = np.spacing(np.maximum(np.abs(expected), 2.0**-14).astype(np.float16)).astype(np.float64) / 2
    noise = 1e-5 * float(np.abs(expected).max())
    assert np.all(np.abs(found.astype(np.float64) - expected) <= 1.001 * half + noise)


@pytest.mark.parametrize(("loader", "kind"), KINDS)
def test_stored_features_are_the_librarys_own(
    origin: Folder, loader: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WORK_VARIABLE, str(tmp_path / "work"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = origin(loader, kind)
    images, texts, scale = own_features(folder)
    for modality, array, expected in (("image", "cls", images), ("text", "pooled", texts)):
        store = stored(folder, modality, tmp_path / modality)
        with_patches = (loader, kind, modality) == ("transformers", "siglip", "image")  # nothing is projected there
        assert set(store.names) == ({array, "mean"} if with_patches else {array})
        found = store.read(array, [f"row{number}" for number in range(len(expected))])
        found = found[:, 0] if modality == "image" else found
        assert found.shape == expected.shape
        apart = np.abs(expected[:, None] - expected[None]).max(axis=2)[~np.eye(len(expected), dtype=bool)]
        assert apart.min() > 0.05 * np.abs(expected).max(), "features of different inputs must differ"
        assert_rounded(found, expected)
        described = store.fingerprint["described"]["preprocessing"]
        assert described.get("features") == (None if with_patches else f"{modality}_features")
        assert described.get("logit_scale") == (None if with_patches else pytest.approx(scale))


@pytest.mark.parametrize(("loader", "kind"), [("transformers", "clip"), ("open_clip", "plain"), ("open_clip", "nllb")])
def test_a_text_is_cut_where_the_librarys_tokenizer_cuts(
    origin: Folder, loader: str, kind: str, tmp_path: Path
) -> None:
    checkpoint, entry, view = made(origin(loader, kind), "text", tmp_path)
    encoder = load_text_encoder(checkpoint, entry, view, "cpu")
    long = [TEXTS[2]]
    assert encoder.lengths([*long, "cats"]) == [min(35, encoder.max_tokens), 3]
    torch.testing.assert_close(encoder.encode(long, 8), encoder.encode(["the green bowl of soup with"]))
    assert not torch.allclose(encoder.encode(long), encoder.encode(long, 8))


def test_a_cut_text_of_siglip_is_padded_to_the_full_length(origin: Folder, tmp_path: Path) -> None:
    folder = origin("transformers", "siglip")
    checkpoint, entry, view = made(folder, "text", tmp_path)
    tokenizer, model = hf.AutoTokenizer.from_pretrained(folder), hf.SiglipModel.from_pretrained(folder).eval()
    assert isinstance(tokenizer, hf.SiglipTokenizer)
    ids = tokenizer([TEXTS[2]], truncation=True, max_length=8)["input_ids"][0]
    padded = torch.tensor([ids + [tokenizer.pad_token_id] * (dual_models.LENGTH - 8)])
    with torch.inference_mode():
        expected = model.get_text_features(input_ids=padded).pooler_output
    found = load_text_encoder(checkpoint, entry, view, "cpu").encode([TEXTS[2]], 8)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_the_towers_of_one_checkpoint_differ_in_modality_alone(origin: Folder, tmp_path: Path) -> None:
    folder = origin("open_clip", "plain")
    manifests = {}
    for modality in ("image", "text"):
        checkpoint, entry, _ = made(folder, modality, tmp_path)
        manifests[modality] = materialise(entry, checkpoint)
    assert manifests["image"].weights_sha256 == manifests["text"].weights_sha256
    assert manifests["image"].width == manifests["text"].width == dual_models.SHARED
    assert manifests["image"].preprocessing["interpolation"] == "bilinear"
    assert manifests["image"].preprocessing["mean"] == [0.4, 0.5, 0.6]
    assert manifests["text"].preprocessing["max_tokens"] == 77


def test_a_tower_without_the_projection_keeps_its_meaning(origin: Folder, tmp_path: Path) -> None:
    """The image tower of a CLIP folder with pooling cls is a vision transformer like any other."""
    folder = origin("transformers", "clip")
    entry = spec("image", "transformers", str(folder), pooling="cls")
    manifest = materialise(entry, tmp_path / "clip")
    assert (manifest.architecture, manifest.width) == ("CLIPVisionModel", 24)
    assert "features" not in manifest.preprocessing


@pytest.mark.parametrize(
    ("modality", "options", "message"),
    [
        ("image", {"tier": "grid"}, "set `tier: cls`"),
        ("image", {"resolution": 48}, "set `resolution: 32`"),
        ("text", {"tier": "full"}, "gives one vector per text"),
        ("text", {"max_tokens": 500}, "positions, the view asks for max_tokens 500"),
    ],
)
@pytest.mark.parametrize(("loader", "kind"), [("transformers", "clip"), ("open_clip", "plain")])
def test_views_that_a_dual_encoder_does_not_have(
    origin: Folder, tmp_path: Path, loader: str, kind: str, modality: str, options: dict[str, Any], message: str
) -> None:
    checkpoint, entry, view = made(origin(loader, kind), modality, tmp_path, **options)
    with pytest.raises(CheckpointError, match=message):
        (load_image_encoder if modality == "image" else load_text_encoder)(checkpoint, entry, view, "cpu")


def test_only_the_projected_features_of_a_text_tower_are_offered(origin: Folder, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"clip is a dual encoder; its text tower needs `pooling: model`"):
        materialise(spec("text", "transformers", str(origin("transformers", "clip")), pooling="cls"), tmp_path / "x")


def test_a_pickle_is_refused(origin: Folder, tmp_path: Path) -> None:
    folder = shutil.copytree(origin("open_clip", "plain"), tmp_path / "origin")
    (folder / "open_clip_model.safetensors").rename(folder / "open_clip_pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"found only the pickle open_clip_pytorch_model\.bin"):
        materialise(spec("image", "open_clip", str(folder), pooling="model"), tmp_path / "x")


def test_weights_of_other_libraries_are_left_behind(origin: Folder, tmp_path: Path) -> None:
    folder = shutil.copytree(origin("open_clip", "plain"), tmp_path / "origin")
    (folder / "model.safetensors").write_bytes(b"of transformers")
    manifest = materialise(spec("image", "open_clip", str(folder), pooling="model"), tmp_path / "x")
    assert set(manifest.files) == {"open_clip_config.json", "open_clip_model.safetensors"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "open_clip_config.json").unlink(), "need `loader: transformers`"),
        (lambda folder: shutil.rmtree(folder / "text_model"), r"hf download no/such-model config\.json"),
        (lambda folder: edit_text(folder, tokenizer_kwargs={"trust_remote_code": True}), "code of its own"),
        (lambda folder: edit_text(folder, hf_proj_type="linear"), "open_clip cannot load"),
    ],
)
def test_a_folder_that_is_not_whole(
    origin: Folder, tmp_path: Path, change: Callable[[Path], None], message: str
) -> None:
    folder = shutil.copytree(origin("open_clip", "xlm-roberta"), tmp_path / "origin")
    change(folder)
    with pytest.raises(CheckpointError, match=message):
        materialise(spec("text", "open_clip", str(folder), pooling="model"), tmp_path / "x")


def edit_text(folder: Path, **changes: Any) -> None:
    path = folder / "open_clip_config.json"
    config = json.loads(path.read_text())
    config["model_cfg"]["text_cfg"] |= changes
    path.write_text(json.dumps(config))


def test_without_the_package_the_pip_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "open_clip", None)
    with pytest.raises(CheckpointError, match=r"pip install -e '.\[clip\]'"):
        import_open_clip()


def test_names_of_open_clip_mean_a_repository_and_its_own_configuration() -> None:
    hub_name = open_clip_parts.hub_name
    assert hub_name("hf-hub:laion/some-model") == ("hf-hub:laion/some-model", None)
    name, config = hub_name("xlm-roberta-base-ViT-B-32:laion5b_s13b_b90k")
    assert name == "laion/CLIP-ViT-B-32-xlm-roberta-base-laion5B-s13B-b90k"
    assert config is not None
    assert config["model_cfg"]["text_cfg"]["hf_model_name"] == "xlm-roberta-base"
    name, config = hub_name("nllb-clip-base-siglip:v1")
    assert config is not None
    assert (name, config["preprocess_cfg"]["resize_mode"]) == ("visheratin/nllb-clip-base-siglip", "squash")
    with pytest.raises(CheckpointError, match="write ViT-L-14-quickgelu:openai"):
        hub_name("ViT-L-14:openai")
    with pytest.raises(CheckpointError, match=r"open_clip has no weights 'opnai'.*openai"):
        hub_name("ViT-L-14:opnai")


def test_a_name_of_open_clip_through_the_hub(origin: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights from one repository, configuration from open_clip, text tower and tokenizer from two more."""
    folder = origin("open_clip", "xlm-roberta")
    config = json.loads((folder / "open_clip_config.json").read_text())
    text = config["model_cfg"]["text_cfg"] | {"hf_model_name": "some/tower", "hf_tokenizer_name": "some/words"}
    config["model_cfg"]["text_cfg"] = text
    asked = []

    def snapshot(name: str, local_dir: Path, allow_patterns: list[str], **_: Any) -> None:
        asked.append((name, Path(local_dir).name))
        source = folder / "text_model" if name == "some/tower" else folder
        Path(local_dir).mkdir(exist_ok=True)
        for path in source.iterdir():
            if path.is_file() and any(path.match(pattern) for pattern in allow_patterns):
                shutil.copy(path, local_dir)

    files = ["open_clip_model.safetensors", "README.md"]
    api = type("Api", (), {"list_repo_files": lambda *_, **__: files, "model_info": None})
    monkeypatch.setattr("huggingface_hub.HfApi", api)
    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    monkeypatch.setattr(open_clip_parts, "hub_name", lambda _: ("some/weights", config))
    entry = spec("text", "open_clip", "tower:tag", "hub", pooling="model", revision="0" * 40)
    manifest = materialise(entry, tmp_path / "x")
    assert asked == [("some/weights", "x"), ("some/tower", "text_model"), ("some/words", "tokenizer")]
    assert (manifest.model, manifest.resolved_revision) == ("tower:tag", "0" * 40)
    encoder = load_text_encoder(tmp_path / "x", entry, TextView(encoder="x"), "cpu")
    np.testing.assert_allclose(encoder.encode(list(TEXTS)).numpy(), own_features(folder)[1], rtol=1e-4, atol=1e-4)
