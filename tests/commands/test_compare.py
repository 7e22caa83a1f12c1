"""`permafrost compare`: two aligners of a run, two projects, two revisions."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands.conftest import Command
from tests.reporting.small import SmallProject, difference, row, with_control


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallProject:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    project = SmallProject(folder)
    project.configure(with_control())
    evaluated(project, 0.5)
    return project


def evaluated(project: SmallProject, value: float) -> None:
    rows = (
        row("plain", "t2i_recall@10", value), row("blind", "t2i_recall@10", 0.2), row("plain", "t2i_recall@1", 0.3),
        row("blind", "t2i_recall@1", 0.3),
    )  # fmt: skip
    project.evaluated("retrieval", rows, (difference("plain", "blind", "t2i_recall@10", 0.3),))


@pytest.mark.usefixtures("run")
def test_two_aligners(permafrost: Command) -> None:
    (line,) = permafrost.json("compare", "blind", "plain")
    assert (line["measure"], line["a"], line["b"], line["difference"]) == ("t2i_recall@10", 0.2, 0.5, 0.3)
    assert line["verdict"] == "*"
    assert [one["measure"] for one in permafrost.json("compare", "blind", "plain", "--all")] == [
        "t2i_recall@10",
        "t2i_recall@1",
    ]
    assert "established" in permafrost("compare", "blind", "plain")


def test_two_projects(run: SmallProject, tmp_path: Path, permafrost: Command) -> None:
    other = SmallProject.__new__(SmallProject)
    other.folder = tmp_path / "other"
    evaluated(other, 0.4)
    lines = permafrost.json("compare", "../other", ".")
    assert [(line["aligner"], line["a"], line["b"]) for line in lines] == [("plain", 0.4, 0.5), ("blind", 0.2, 0.2)]
    assert run.folder.is_dir()


def test_a_revision_and_the_files_here(run: SmallProject, permafrost: Command) -> None:
    Path("dvc.yaml").write_text("stages: {}\n")
    Path(".gitignore").write_text("")
    for command in (
        ["git", "init", "-q"],
        ["dvc", "init", "-q"],
        ["git", "add", "-A"],
        ["git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "x"],
    ):
        program = shutil.which(command[0]) or str(Path(sys.executable).parent / command[0])
        subprocess.run([program, *command[1:]], check=True, capture_output=True)
    evaluated(run, 0.7)
    lines = permafrost.json("compare", "HEAD", ".")
    assert [(line["aligner"], line["a"], line["b"]) for line in lines] == [("plain", 0.5, 0.7), ("blind", 0.2, 0.2)]
    experiment = "refs/exps/ab/" + "c" * 38 + "/itchy-teff"  # where DVC keeps one, by the commit that it starts from
    subprocess.run(["git", "update-ref", experiment, "HEAD"], check=True)
    assert permafrost.json("compare", "itchy-teff", ".") == lines
    for name in ("no-such-thing", "itchy", "*"):
        permafrost("compare", "HEAD", name, code=1)
        assert "no revision of Git and no experiment of DVC. Aligners here: blind, plain" in permafrost.error


@pytest.mark.usefixtures("run")
def test_nothing_in_common(permafrost: Command, tmp_path: Path) -> None:
    permafrost("compare", "blind", "plain", "--task", "long_text", code=1)
    assert "no figure in common of task long_text" in permafrost.error
    (tmp_path / "empty").mkdir()
    permafrost("compare", "../empty", ".", code=1)
    assert "has no results under data/results" in permafrost.error
