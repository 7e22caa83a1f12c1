"""The small project with a tiny Whisper, stores of sounds, and aligners of each pair of modalities."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from pipeline.alignment.head_config import CONFIG_FILE, SPACE_FOLDER, HeadConfig
from pipeline.alignment.heads.build import build_head
from pipeline.alignment.heads.two_networks import TwoNetworks
from pipeline.alignment.saved import head_entry, heads_path, save_heads
from pipeline.config import AudioView, EncoderSpec
from pipeline.config.audio_sources import AudioFolderSource
from pipeline.datasets.index import build_index
from pipeline.encoders.audio import load_audio_encoder
from pipeline.encoders.checkpoint import materialise
from pipeline.encoders.manifest import read_manifest
from pipeline.encoding.audio_rows import AudioRows
from pipeline.encoding.identity import fingerprint_of
from pipeline.encoding.plan import further_plan
from pipeline.encoding.run import StoreEncoder
from pipeline.encoding.sounds import IndexedSounds
from pipeline.features import FeatureStore
from pipeline.paths import WORK_VARIABLE
from pipeline.torchvision_fix import ensure_torchvision
from tests.alignment.specs import trained
from tests.inference.conftest import PARAMS, Project

VIEWS: Mapping[str, AudioView] = {
    "ear": AudioView(encoder="ear", seconds=0.8, tier="grid", grid=3),
    "ear-full": AudioView(encoder="ear", seconds=0.8, tier="full"),
}
NAMES = ("bell", "drum", "horn", "siren", "whistle")
WIDTHS = {"grid": 16, "words": 16, "ear": 24, "ear-full": 24}
RATE = 16_000


def samples_of(number: int) -> np.ndarray:
    """A tone with an overtone, (n,) float32 at 16 kHz, of a length of its own."""
    time = np.arange(int(RATE * (0.3 + 0.4 * number))) / RATE
    wave = np.sin(2 * np.pi * (220 + 170 * number) * time) + 0.4 * np.sin(2 * np.pi * 900 * time * (number + 1))
    return (0.3 * wave * np.exp(-time)).astype(np.float32)


def sound_paths(root: Path) -> list[Path]:
    return [root / "sounds" / name / f"{name}.wav" for name in NAMES]


def add_sounds(project: Project, work: Path) -> None:
    """Put sounds, their encoder, stores and aligners into a project."""
    root = project.root
    for number, path in enumerate(sound_paths(root)):
        path.parent.mkdir(parents=True)
        soundfile.write(path, samples_of(number), RATE, subtype="FLOAT")
        path.with_suffix(".txt").write_text(f"the sound of a {path.stem}\n")
    ensure_torchvision()
    from tests.encoders.audio_models import FAMILIES

    FAMILIES["whisper"].make(root / "ear")
    ear = EncoderSpec(
        modality="audio", source="local", model=str(root / "ear"), loader="transformers", pooling="mean", layers=(1, 2)
    )
    checkpoint, index = root / "data/checkpoints/ear", root / "data/index/pairs/heard"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(WORK_VARIABLE, str(work))
        materialise(ear, checkpoint)
        source = AudioFolderSource(source="audio-folder", path=str(root / "sounds"), captions="beside")
        build_index(source, index, work)
        for name, view in VIEWS.items():
            encoder = load_audio_encoder(checkpoint, ear, view, "cpu")
            rows = AudioRows(encoder, view, IndexedSounds(index, view), PARAMS)
            job = StoreEncoder(name, fingerprint_of(read_manifest(checkpoint), ear, view), lambda rows=rows: rows, 0.0)  # type: ignore[misc]
            job.run(further_plan(index, view, 8), root / "data/features/pairs" / name / "heard")
    _write(project, "hears", ("ear", "words"), "mlp", local_tokens="grid", image_input="concat")
    _write(project, "sees-and-hears", ("grid", "ear"), "mlp", local_tokens="grid", image_input="concat")
    _write(project, "hears-frames", ("grid", "ear-full"), "mlp", local_tokens="mean", text_tokens="full")
    _write(project, "further", ("ear", "words"), "mlp", space="grid", local_tokens="mean", image_input="mean")


def _fingerprint(project: Project, view: str) -> dict[str, object]:
    dataset = "heard" if view.startswith("ear") else "mine"
    return FeatureStore.open(project.root / "data/features/pairs" / view / dataset).fingerprint


def _write(project: Project, name: str, views: tuple[str, str], kind: str, space: str = "", **keys: object) -> None:
    """An aligner with random weights; of one that is added, the other aligner whole beside them."""
    spec = trained(kind, embed_dim=None if space else 12, **keys)
    one, other = views
    config = HeadConfig(
        aligner=name,
        head=head_entry(spec),
        views={"image": one, "text": other},
        widths={"image": WIDTHS[one], "text": 12 if space else WIDTHS[other]},
        embed_dim=12,
        fingerprints={"image": _fingerprint(project, one), "text": _fingerprint(project, other)},  # type: ignore[dict-item]
        data=("heard",),
        repeats=2,
        parameters=1,
        space=space,
    )
    folder = project.model(name)
    for repeat in range(2):
        torch.manual_seed(repeat + len(name))
        head = build_head(spec.model_copy(update={"embed_dim": 12}), *config.widths.values())
        if space:
            assert isinstance(head, TwoNetworks)
            head.let_texts_stand()
            heads_path(folder / SPACE_FOLDER, repeat).parent.mkdir(parents=True)
            shutil.copyfile(heads_path(project.model(space), repeat), heads_path(folder / SPACE_FOLDER, repeat))
        save_heads(head, folder, repeat)
    if space:
        shutil.copyfile(project.model(space) / CONFIG_FILE, folder / SPACE_FOLDER / CONFIG_FILE)
    config.write(folder)
