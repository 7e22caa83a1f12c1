"""A small project with real (tiny, random) encoders, stores made by the encode loop, and heads with random weights."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageDraw

from pipeline import Aligner
from pipeline.alignment.heads.freeze_align import FreezeAlign
from pipeline.alignment.saved import HeadConfig, head_entry, save_heads
from pipeline.config import EncodeParams, EncoderSpec, FolderSource, ImageView, TextView
from pipeline.datasets.index import build_index
from pipeline.encoders.checkpoint import materialise
from pipeline.encoders.manifest import read_manifest
from pipeline.encoding.identity import fingerprint_of
from pipeline.encoding.load import image_rows, text_rows
from pipeline.encoding.plan import image_plan, text_plan
from pipeline.encoding.run import StoreEncoder
from pipeline.features import FeatureStore
from pipeline.paths import WORK_VARIABLE
from tests.alignment.specs import trained
from tests.dag.tiny import write_image_checkpoint, write_text_checkpoint

PARAMS = EncodeParams(batch_size=4, text_batch_size=4, shard_rows=8, max_failure_rate=0.5)
WORDS = ("anchor", "bridge", "candle", "daisy", "engine", "feather", "guitar", "hammer", "island", "jacket")


@dataclass(frozen=True)
class Project:
    """Paths of a project on disk; `local_tokens` names both an aligner and its image view."""

    root: Path

    @property
    def pictures(self) -> list[Path]:
        return sorted((self.root / "pictures").glob("*.png"))

    def model(self, local_tokens: str) -> Path:
        return self.root / "data/models" / local_tokens

    def store(self, view: str) -> FeatureStore:
        return FeatureStore.open(self.root / "data/features/pairs" / view / "mine")


def aligner(project: Project, local_tokens: str = "grid", **options: Any) -> Aligner:
    return Aligner.from_pretrained(project.model(local_tokens), device="cpu", **options)


@pytest.fixture(scope="package")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    root = tmp_path_factory.mktemp("project")
    (root / "pictures").mkdir()
    lines = ["file,caption,language,concept"]
    for row, word in enumerate(WORDS):
        picture = Image.new("RGBA", (60 + 7 * row, 50 + 3 * row), (0, 0, 0, 0))
        ImageDraw.Draw(picture).ellipse((5, 5, 30 + 2 * row, 40), fill=(25 * row, 255 - 20 * row, 90, 255))
        picture.save(root / "pictures" / f"{word}.png")
        lines.append(f"{word}.png,a picture of a {word},en,{word}")
    (root / "pictures/captions.csv").write_text("\n".join(lines) + "\n")
    write_image_checkpoint(root / "eye", seed=0)
    write_text_checkpoint(root / "words", seed=1)
    eye = EncoderSpec(modality="image", source="local", model=str(root / "eye"), loader="transformers", layers=(1, 2))
    words = EncoderSpec(
        modality="text", source="local", model=str(root / "words"), loader="transformers", pooling="mean", prefix="a "
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(WORK_VARIABLE, str(root / "work"))
        materialise(eye, root / "data/checkpoints/eye")
        materialise(words, root / "data/checkpoints/words")
        index = root / "data/index/pairs/mine"
        build_index(FolderSource(source="folder", path=str(root / "pictures")), index, root / "work")
        views = {
            "grid": ImageView(encoder="eye", resolution=42, tier="grid", grid=2),
            "patch": ImageView(encoder="eye", resolution=224, tier="full", dtype="float32"),
            "mean": ImageView(encoder="eye", resolution=224, tier="cls"),
        }
        for name, view in views.items():
            checkpoint = root / "data/checkpoints/eye"
            fingerprint = fingerprint_of(read_manifest(checkpoint), eye, view)
            rows = image_rows(checkpoint, eye, view, index, PARAMS)
            job = StoreEncoder(name, fingerprint, lambda rows=rows: rows, 0.5)  # type: ignore[misc]
            job.run(image_plan(index, 8), root / "data/features/pairs" / name / "mine")
        checkpoint, view = root / "data/checkpoints/words", TextView(encoder="words", languages="all")
        plan, strings = text_plan(index, (), 8)
        rows = text_rows(checkpoint, words, view, strings, PARAMS)
        job = StoreEncoder("words", fingerprint_of(read_manifest(checkpoint), words, view), lambda: rows, 0.5)
        job.run(plan, root / "data/features/pairs/words/mine")
    project = Project(root)
    for name in views:
        _write_heads(project, name)
    return project


def _write_heads(project: Project, local_tokens: str) -> None:
    config = HeadConfig(
        aligner=local_tokens,
        head=head_entry(trained(embed_dim=12, local_tokens=local_tokens)),
        views=(views := {"image": local_tokens, "text": "words"}),
        widths={"image": 16, "text": 16},
        embed_dim=12,
        fingerprints={side: project.store(view).fingerprint for side, view in views.items()},
        data=("mine",),
        repeats=2,
        seeds=(0, 1),
        best_epochs=(1, 1),
        parameters=1,
    )
    for repeat in range(2):
        torch.manual_seed(repeat)
        save_heads(FreezeAlign(16, 16, 12), project.model(local_tokens), repeat)
    config.write(project.model(local_tokens))


@pytest.fixture
def copied(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A copy that may be spoilt, with an empty work folder, seen from elsewhere."""
    shutil.copytree(project.root, tmp_path / "project")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv(WORK_VARIABLE, str(tmp_path / "fresh-work"))
    return Project(tmp_path / "project")
