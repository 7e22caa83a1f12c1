"""A colleague's machine: features, heads and scores come from a DVC remote, and nothing is run there."""

from pathlib import Path

import pytest

from tests.dag.project import Project
from tests.dag.reruns import ENDS, SCORES

pytestmark = [pytest.mark.dag, pytest.mark.long]


def test_a_machine_that_pulls_runs_no_stage(project: Project, tmp_path: Path) -> None:
    project.repro()
    project.commit("to be shared")
    project.run("dvc", "remote", "add", "--local", "--default", "shared", str(tmp_path / "remote"))
    try:
        project.run("dvc", "push", "--run-cache")
    finally:
        project.run("dvc", "remote", "remove", "--local", "shared")

    project.run("git", "clone", "--quiet", str(project.folder), str(tmp_path / "clone"))
    colleague = Project(tmp_path / "clone", project.outside, set())
    colleague.run("dvc", "remote", "add", "--local", "--default", "shared", str(tmp_path / "remote"))
    colleague.run("dvc", "pull", "--run-cache")
    assert colleague.repro() == set()
    assert not colleague.journal()

    colleague.edit("evaluate.tasks.retrieval.recall_at", [1, 3])
    assert colleague.repro(*ENDS) == {SCORES}
    assert not colleague.passes(), "training features are there"


def test_an_encoder_that_someone_else_has_tried_is_restored(project: Project, tmp_path: Path) -> None:
    first = project.params()["encoders"]["words"]["model"]
    project.edit("encoders.words.model", str(project.outside / "words-b"))
    try:
        project.repro("encode@mine-words")
        project.run("dvc", "push", "--run-cache", "-r", _remote(project, tmp_path))
    finally:
        project.edit("encoders.words.model", first)
        project.run("dvc", "remote", "remove", "--local", "tried")
    project.commit("the first encoder again")

    project.run("git", "clone", "--quiet", str(project.folder), str(tmp_path / "clone"))
    colleague = Project(tmp_path / "clone", project.outside, set())
    colleague.run("dvc", "fetch", "--run-cache", "-r", _remote(colleague, tmp_path))
    colleague.edit("encoders.words.model", str(project.outside / "words-b"))
    assert colleague.repro("--pull", "encode@mine-words") == set()
    assert not colleague.journal()


def _remote(project: Project, tmp_path: Path) -> str:
    project.run("dvc", "remote", "add", "--local", "--force", "--default", "tried", str(tmp_path / "remote"))
    return "tried"
