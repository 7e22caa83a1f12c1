"""What a user may get wrong ends with one clear message and exit code 1."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.dag.project import Project

pytestmark = pytest.mark.dag


def refused(project: Project, stage: str, item: str, expected: str) -> None:
    done: subprocess.CompletedProcess[str] = project.attempt("python", "-m", f"stages.{stage}", f"+item={item}")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    assert expected in done.stderr


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("train.lrr", 1.0, "`train.lrr` is not a key that exists here. Did you mean `lr`?"),
        ("train.lr", "fast", "`train.lr` is 'fast'"),
        ("views.eye.encoder", "eie", "`views.eye.encoder` names 'eie', which is not under `encoders`"),
    ],
)
def test_a_typo_in_params(project: Project, path: str, value: object, expected: str) -> None:
    before = (project.folder / "params.yaml").read_text()
    project.edit(path, value)
    try:
        refused(project, "train", "default", expected)
    finally:
        (project.folder / "params.yaml").write_text(before)


def test_an_item_that_does_not_exist(project: Project) -> None:
    refused(project, "train", "defualt", "there is no `defualt` under `aligners`. Did you mean `default`?")


def without(path: Path, then: Callable[[], None]) -> None:
    """Run `then` while `path` is away."""
    kept = path.with_name(path.name + ".kept")
    path.rename(kept)
    try:
        then()
    finally:
        if path.exists():
            shutil.rmtree(path)
        kept.rename(path)


def test_a_missing_checkpoint(project: Project) -> None:
    folder = project.folder / "data" / "checkpoints" / "eye"
    without(folder, lambda: refused(project, "encode", "mine-eye", "dvc repro checkpoint@eye"))


def test_a_local_checkpoint_that_is_not_there(project: Project) -> None:
    before = (project.folder / "params.yaml").read_text()
    project.edit("encoders.eye.model", "/nowhere/model")
    try:
        refused(project, "checkpoint", "eye", "/nowhere/model")
    finally:
        (project.folder / "params.yaml").write_text(before)


def test_a_store_of_another_encoder(project: Project) -> None:
    features = project.folder / "data" / "features" / "pairs"

    def swapped() -> None:
        shutil.copytree(features / "blind" / "mine", features / "eye" / "mine")
        refused(project, "evaluate", "retrieval", "features/pairs/eye/mine")

    without(features / "eye" / "mine", swapped)


def test_a_missing_store(project: Project) -> None:
    folder = project.folder / "data" / "features" / "pairs" / "words" / "mine"
    without(folder, lambda: refused(project, "train", "default", "No feature store at"))
