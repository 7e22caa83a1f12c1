"""The small project of the aligner tests, with splits and prompts, so that the stages can evaluate it."""

from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.config import (
    ClassificationParams,
    ClassificationSet,
    EncoderSpec,
    EvaluatedAligner,
    EvaluateParams,
    FitSpec,
    NamedTemplates,
    PromptedClasses,
    RetrievalParams,
    TextView,
)
from pipeline.datasets.prompts import build_prompts
from pipeline.datasets.tables import JOINT_PAIRS, read_table, write_table
from pipeline.encoders.manifest import read_manifest
from pipeline.encoding.identity import fingerprint_of
from pipeline.encoding.load import text_rows
from pipeline.encoding.plan import text_plan
from pipeline.encoding.run import StoreEncoder
from pipeline.paths import WORK_VARIABLE
from tests.alignment.specs import trained
from tests.inference.conftest import PARAMS, Project, project

__all__ = ["project"]

LABEL = ClassificationSet(dataset="mine", label="concept")
SPECS = {
    name: EvaluatedAligner(
        fit=FitSpec(
            image=name,
            text="words",
            datasets=("mine",),
            data="all",
            head=trained(embed_dim=12, local_tokens=name),
        )
    )
    for name in ("grid", "mean")
}
TEMPLATES: dict[str, tuple[str, ...] | NamedTemplates] = {"ensemble": ("a picture of a {}.", "{}")}
TASKS = {
    "classification": ClassificationParams(classes=(LABEL,), prompt_sets=("ensemble",)),
    "retrieval": RetrievalParams(datasets=("mine",), recall_at=(1, 2, 5)),
}
EVALUATE = EvaluateParams(control="mean", showcase="grid", examples=0, bootstrap=100, device="cpu")


def encode_prompts(root: Path, classes: tuple[ClassificationSet, ...], work: Path) -> None:
    """Write the prompts of `classes` and their features, as the stages do."""
    prompts = root / "data/index/prompts/classnames"
    build_prompts(root / "data/splits", PromptedClasses(classes=classes, sets=TEMPLATES), prompts)
    encode_texts(root, prompts, root / "data/features/prompts/words/classnames", work)


def encode_texts(root: Path, index: Path, out: Path, work: Path) -> None:
    """The text view of the project for the texts of an index."""
    checkpoint, view = root / "data/checkpoints/words", TextView(encoder="words")
    words = EncoderSpec(
        modality="text", source="local", model=str(root / "words"), loader="transformers", pooling="mean", prefix="a "
    )
    plan, strings = text_plan(index, (), 8)
    rows = text_rows(checkpoint, words, view, strings, PARAMS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(WORK_VARIABLE, str(work))
        fingerprint = fingerprint_of(read_manifest(checkpoint), words, view)
        StoreEncoder("texts", fingerprint, lambda: rows, 0.5).run(plan, out)


@pytest.fixture(scope="package")
def evaluated(project: Project) -> Project:
    """The project with every image in the test split of repeat 0, and none in that of repeat 1."""
    index, splits = project.root / "data/index/pairs/mine", project.root / "data/splits"
    labels = read_table(index / "labels.parquet", ["image_id", "concept", "classname", "category"]).to_pylist()
    samples = [
        {"dataset": "mine", **row, "family": row["concept"], "split_0": "test", "split_1": "train"} for row in labels
    ]
    write_table(pa.Table.from_pylist(samples), splits / "samples.parquet")
    pairs = read_table(index / "pairs.parquet", ["image_id", "text_id", "language", "role"]).to_pylist()
    joint = [{"dataset": "mine", **row} for row in pairs]
    write_table(pa.Table.from_pylist(joint, schema=JOINT_PAIRS), splits / "pairs.parquet")
    encode_prompts(project.root, (LABEL,), project.root / "work")
    return project


@pytest.fixture
def inside(evaluated: Project, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Its root, as the working directory."""
    monkeypatch.chdir(evaluated.root)
    return evaluated.root
