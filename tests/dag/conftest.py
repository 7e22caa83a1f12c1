"""One project per worker: the first run is made once and copied. What a test edits, it puts back."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from tests.dag import zygote
from tests.dag.project import Project


@pytest.fixture(scope="session", autouse=True)
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Commands without their imports, for every project of this worker."""
    folder: Path = tmp_path_factory.mktemp("commands")
    with zygote.commands(folder / "bin", Project(folder, folder, set()).environment()) as made:
        Project.commands = made
        yield
        Project.commands = None


@pytest.fixture(scope="session")
def first_run(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Project:
    """The project after its first run, of all workers; nobody changes it."""
    base = tmp_path_factory.getbasetemp()
    shared: Path = (base if worker_id == "master" else base.parent) / "first-run"
    stages = shared / "stages.json"
    with FileLock(f"{shared}.lock"):
        if not stages.is_file():
            shutil.rmtree(shared, ignore_errors=True)
            first = Project.made(shared / "work", shared / "outside")
            stages.write_text(json.dumps(sorted(first.first_run)))
    return Project(shared / "work", shared / "outside", set(json.loads(stages.read_text())))


@pytest.fixture(scope="session")
def project(first_run: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return copied(first_run, tmp_path_factory.mktemp("project") / "work")


@pytest.fixture(autouse=True)
def left_as_it_was(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test leaves the worker's project as the next one expects it, or takes a copy of its own.

    Raises:
        AssertionError: if it leaves other parameters, or the index of a data set, for which `splits` would run.
    """
    shared: Project | None = request.getfixturevalue("project") if "project" in request.fixturenames else None
    before = _left(shared)
    yield
    assert _left(shared) == before


def _left(project: Project | None) -> tuple[str, list[str]]:
    if project is None:
        return "", []
    indexed = (project.folder / "data/index").glob("*/*")
    return (project.folder / "params.yaml").read_text(), sorted(path.as_posix() for path in indexed)


def copied(project: Project, folder: Path) -> Project:
    """The project in another folder, with the same encoders and pictures."""
    copy_with_links(project.folder, folder)
    return Project(folder, project.outside, project.first_run)


def copy_with_links(source: Path, target: Path) -> None:
    """Copy a tree; files that are hard links of each other are so in the copy."""
    copies: dict[int, str] = {}

    def copy(old: str, new: str) -> None:
        number = Path(old).stat().st_ino
        if number in copies:
            os.link(copies[number], new)
        else:
            shutil.copy2(old, new)
            copies[number] = new

    shutil.copytree(source, target, copy_function=copy, symlinks=True)
