"""Each stage on a file system that is too small for what it writes: one message that names the place, and exit code 1.

The small file system is mounted in a namespace of the stage's own, so that it is gone with the process.
"""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.dag import zygote
from tests.dag.project import Project

pytestmark = [pytest.mark.dag, pytest.mark.long]

DISK = Path(__file__).with_name("small_disk.py")
STAGES = [
    ("settings", "", "data/settings", "4k"),
    ("checkpoint", "eye", "data/checkpoints", "16k"),
    ("index", "mine", "data/index/pairs", "8k"),
    ("scenes", "composed", "data/index/scenes", "8k"),
    ("splits", "", "data/splits", "4k"),
    ("prompts", "", "data/index/prompts", "4k"),
    ("encode", "mine-eye", "data/features/pairs", "16k"),
    ("encode", "mine-eye", ".dvc/permafrost", "64k"),
    ("curate", "all", "data/curation", "4k"),
    ("compare", "mine", "data/compare", "4k"),
    ("train", "default", "data/models", "4k"),
    ("dense", "eye", "data/dense", "4k"),
    ("evaluate", "retrieval", "data/results", "4k"),
    ("accounting", "", "data/accounting", "4k"),
    ("report", "", "data/report", "16k"),
]


@pytest.fixture(scope="module", autouse=True)
def whole(project: Project) -> None:
    """What other tests changed and put back has run again."""
    project.repro()


@pytest.fixture(scope="module")
def mounts(tmp_path_factory: pytest.TempPathFactory) -> None:
    mount = ("mount", "-t", "tmpfs", "none", str(tmp_path_factory.mktemp("mount")))
    command = ["unshare", "--user", "--map-root-user", "--mount", *mount]
    if shutil.which("unshare") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a file system in a namespace")


def stage(
    project: Project, size: str, folder: str, name: str, item: str, read_only: bool = False
) -> subprocess.CompletedProcess[str]:
    command = ["python", "-m", f"stages.{name}", *([f"+item={item}"] if item else [])]
    disk = json.dumps([str(project.folder / folder), size, read_only])
    return project.attempt(*command, **{zygote.FIRST: str(DISK), "SMALL_DISK": disk})


@pytest.mark.usefixtures("mounts")
@pytest.mark.parametrize(("name", "item", "folder", "size"), STAGES)
def test_a_disk_that_is_too_small(project: Project, name: str, item: str, folder: str, size: str) -> None:
    done = stage(project, size, folder, name, item)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    said = done.stderr[done.stderr.index("error: ") :]
    assert "No space is left" in said
    assert "run the same command again" in said
    if (name, folder) != ("encode", "data/features/pairs"):  # it names its scratch, which is kept
        assert folder in said
        assert " 0.0 MB at " in said


@pytest.mark.usefixtures("mounts")
@pytest.mark.parametrize(("name", "item", "folder", "size"), [STAGES[4], STAGES[10], STAGES[14]])
def test_a_disk_that_is_read_only(project: Project, name: str, item: str, folder: str, size: str) -> None:
    done = stage(project, size, folder, name, item, read_only=True)
    assert done.returncode == 1
    (error,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert folder in error
    assert "[EROFS]. Its file system is mounted read-only" in error
    assert "Traceback" not in done.stderr


def test_nothing_of_it_is_left(project: Project) -> None:
    """What failed in its own namespace has changed nothing of the project."""
    assert project.status() == "up to date"
