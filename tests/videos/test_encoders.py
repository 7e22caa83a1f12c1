"""Encoders of videos: what a store has is what the model's own library gives for each video alone, rounded."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf

from pipeline.config import EncodeParams, EncoderSpec
from pipeline.config.datasets import FolderSource
from pipeline.config.video_view import VideoView
from pipeline.datasets.index import build_index
from pipeline.encoders.checkpoint import materialise
from pipeline.encoders.manifest import read_manifest
from pipeline.encoders.video import load_video_encoder
from pipeline.encoding.identity import fingerprint_of
from pipeline.encoding.load import further_rows
from pipeline.encoding.plan import further_plan
from pipeline.encoding.run import StoreEncoder
from pipeline.errors import CheckpointError
from pipeline.features import FeatureStore
from pipeline.paths import WORK_VARIABLE
from tests.encoders.rounded import assert_rounded, parts
from tests.videos.films import FRAMES, films, write

PIXELS, LENGTH = 32, 4
SMALL: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
SEEN = {"image_size": PIXELS, "num_frames": LENGTH}
FAMILIES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "videomae": ("VideoMAEConfig", "VideoMAEModel", {"patch_size": 16, "tubelet_size": 2, "use_mean_pooling": False}),
    "timesformer": ("TimesformerConfig", "TimesformerModel", {"patch_size": 16}),
    "vivit": ("VivitConfig", "VivitModel", {"tubelet_size": [2, 16, 16]}),
}
SIZES = {"size": {"shortest_edge": PIXELS}, "crop_size": {"height": PIXELS, "width": PIXELS}}


def write_family(folder: Path, name: str) -> None:
    config, model, own = FAMILIES[name]
    torch.manual_seed(3)
    getattr(hf, model)(getattr(hf, config)(**SMALL, **SEEN, **own)).save_pretrained(folder)
    (hf.VivitImageProcessor if name == "vivit" else hf.VideoMAEImageProcessor)(**SIZES).save_pretrained(folder)


def write_dino(folder: Path) -> None:
    torch.manual_seed(3)
    hf.Dinov2Model(hf.Dinov2Config(**SMALL | {"mlp_ratio": 2}, image_size=28, patch_size=14)).save_pretrained(folder)
    hf.BitImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}).save_pretrained(folder)


def sampled() -> list[list[Any]]:
    """The frames that a view of `LENGTH` sees of each film."""
    return [[film[(2 * n + 1) * FRAMES // (2 * LENGTH)] for n in range(LENGTH)] for _, _, film in films()]


def library(folder: Path, name: str) -> dict[str, np.ndarray]:
    """What the library gives: cls, mean and the time steps of each film."""
    model = getattr(hf, FAMILIES[name][1]).from_pretrained(folder).eval()
    processor = hf.AutoImageProcessor.from_pretrained(folder)
    found: dict[str, list[np.ndarray]] = {"cls": [], "mean": [], "steps": []}
    for film in sampled():
        with torch.inference_mode():
            hidden = model(**processor(film, return_tensors="pt")).last_hidden_state[0]
        tokens = hidden if name == "videomae" else hidden[1:]
        if name == "timesformer":
            steps = tokens.reshape(-1, LENGTH, tokens.shape[1]).mean(0)
        else:
            steps = tokens.reshape(LENGTH // 2, -1, tokens.shape[1]).mean(1)
        found["cls"].append(hidden[0].numpy())
        found["mean"].append(tokens.mean(0).numpy())
        found["steps"].append(steps.numpy())
    return {key: np.stack(values) for key, values in found.items()}


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("films")
    write(root / "raw")
    build_index(FolderSource(source="folder", path=str(root / "raw")), root / "index", root)
    return root / "index"


def made(origin: Path, out: Path, **options: Any) -> tuple[Path, EncoderSpec]:
    entry = {"modality": "video", "source": "local", "model": str(origin), "loader": "transformers", "pooling": "mean"}
    spec = EncoderSpec(**entry | options)
    materialise(spec, out)
    return out, spec


def stored(folder: Path, spec: EncoderSpec, view: VideoView, index: Path, out: Path) -> FeatureStore:
    params = EncodeParams(batch_size=5, workers=2, device="cpu")
    StoreEncoder(
        "store", fingerprint_of(read_manifest(folder), spec, view),
        lambda: further_rows(folder, spec, view, index, params), 0.0, scratch=out / "scratch",
    ).run(further_plan(index, view, 40), out / "store")  # fmt: skip
    return FeatureStore.open(out / "store")


def view(**options: Any) -> VideoView:
    return VideoView(encoder="x", **{"frames": LENGTH, "resolution": PIXELS, **options})


@pytest.mark.parametrize(("name", "pooling"), [("videomae", "mean"), ("timesformer", "cls"), ("vivit", "cls")])
def test_a_store_has_what_the_library_gives(
    name: str, pooling: str, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WORK_VARIABLE, str(tmp_path / "work"))
    write_family(tmp_path / "origin", name)
    folder, spec = made(tmp_path / "origin", tmp_path / "checkpoint", pooling=pooling)
    expected = library(folder, name)
    assert expected["steps"].std(0).max() > 0.01, "videos must differ"
    full = stored(folder, spec, view(tier="full"), index, tmp_path / "full")
    assert_rounded(np.asarray(full.read("cls", full.ids))[:, 0], expected[pooling])
    assert_rounded(np.asarray(full.read("mean", full.ids))[:, 0], expected["mean"])
    tokens, offsets = full.ragged("tokens").take(np.arange(len(expected["mean"])))
    assert_rounded(tokens, expected["steps"].reshape(-1, tokens.shape[1]))
    assert set(np.diff(offsets)) == {expected["steps"].shape[1]}
    coarse = stored(folder, spec, view(tier="grid", grid=2), index, tmp_path / "grid")
    halves = np.stack([parts(torch.from_numpy(steps), 2).numpy() for steps in expected["steps"]])
    assert_rounded(np.asarray(coarse.read("grid", coarse.ids)), halves)


def test_an_image_model_sees_each_frame(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WORK_VARIABLE, str(tmp_path / "work"))
    write_dino(tmp_path / "origin")
    folder, spec = made(tmp_path / "origin", tmp_path / "checkpoint", pooling="cls")
    model, processor = hf.Dinov2Model.from_pretrained(folder).eval(), hf.AutoImageProcessor.from_pretrained(folder)
    store = stored(folder, spec, view(resolution=28), index, tmp_path / "out")
    with torch.inference_mode():
        hidden = [model(**processor(film, return_tensors="pt")).last_hidden_state for film in sampled()]
    assert_rounded(
        np.asarray(store.read("cls", store.ids))[:, 0], np.stack([own[:, 0].mean(0).numpy() for own in hidden])
    )
    means = np.stack([own[:, 1:].mean((0, 1)).numpy() for own in hidden])
    assert_rounded(np.asarray(store.read("mean", store.ids))[:, 0], means)


def test_statistics_tell_what_moves_from_what_stands(tmp_path: Path) -> None:
    entry = {"modality": "video", "source": "embedded", "model": "frame-statistics", "loader": "statistics"}
    spec = EncoderSpec(**entry, pooling="model")
    materialise(spec, tmp_path / "checkpoint")
    tower = load_video_encoder(tmp_path / "checkpoint", spec, view(), "cpu")
    moving = next(films())[2][:LENGTH]
    first = tower.forward(torch.stack([tower.prepare(moving[:1] * LENGTH), tower.prepare(moving)])).cls[:, 0]
    assert first.shape == (2, tower.width)
    assert first[0, -48:].abs().max() == 0
    assert first[1, -48:].abs().max() > 0.01


@pytest.mark.parametrize(
    ("options", "of_encoder", "message"),
    [
        ({"frames": 8}, {}, "sees 4 frames, and the view asks for 8: set `frames: 4`"),
        ({"resolution": 64}, {}, "set `resolution: 32`"),
        ({}, {"pooling": "cls"}, "no cls output; set `pooling` to mean"),
        ({}, {"layers": (1,)}, "the last layer is kept"),
    ],
)
def test_what_a_model_has_not_is_said(
    options: dict[str, Any], of_encoder: dict[str, Any], message: str, tmp_path: Path
) -> None:
    write_family(tmp_path / "origin", "videomae")
    folder, spec = made(tmp_path / "origin", tmp_path / "checkpoint", **of_encoder)
    with pytest.raises(CheckpointError, match=message):
        load_video_encoder(folder, spec, view(**options), "cpu")
