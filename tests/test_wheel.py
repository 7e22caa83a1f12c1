"""A wheel outside of any clone: built, installed into an empty environment, and used under its own import name."""

import ast
import json
import os
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest
import torch

import pipeline
import pipeline.errors
from pipeline import __version__
from tests.inference.conftest import Project, aligner, project
from tests.reporting.small import SmallProject, one_aligner, row

__all__ = ["project"]
ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "pipeline", "stages", "permafrost.py")


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel and, by path, the libraries of the environment of the tests."""

    folder: Path
    wheel: Path

    def run(self, *command: str, cwd: Path) -> str:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        executable = str(self.folder / "bin" / command[0])
        done = subprocess.run(
            [executable, *command[1:]], cwd=cwd, env=kept, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    source, dist = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    (source / "build" / "lib" / "stages").mkdir(parents=True)
    (source / "build" / "lib" / "stages" / "old.py").write_text("left over from a build before\n")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", dist, source], check=True)
    (wheel,) = dist.glob("*.whl")
    folder = tmp_path_factory.mktemp("environment")
    venv.EnvBuilder(with_pip=False, symlinks=True).create(folder)
    subprocess.run([*pip, "--python", folder / "bin" / "python", "install", "--no-deps", wheel], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "libraries.pth").write_text(str(Path(torch.__file__).parents[1]) + "\n")
    return Installed(folder, wheel)


def test_one_package_lands_on_the_path_and_says_that_it_is_typed(installed: Installed) -> None:
    (packages,) = installed.folder.glob("lib/python*/site-packages")
    names = {path.name for path in packages.iterdir()} - {"libraries.pth"}
    assert names == {"permafrost", f"permafrost_align-{__version__}.dist-info"}
    assert (packages / "permafrost" / "py.typed").is_file()
    ours = {path.relative_to(ROOT / "pipeline") for path in (ROOT / "pipeline").rglob("*") if path.suffix != ".pyc"}
    theirs = {path.relative_to(packages / "permafrost") for path in (packages / "permafrost").rglob("*")}
    assert {path for path in ours if path.name != "__pycache__"} <= theirs, "every file, templates of the report too"


def test_no_module_of_the_wheel_is_called_by_the_name_of_its_folder(installed: Installed) -> None:
    (package,) = installed.folder.glob("lib/python*/site-packages/permafrost")
    for path in package.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []
            found = [name for name in names if name == "pipeline" or "pipeline." in name.replace("pipeline. ", "")]
            assert not found, f"{path}: {found}"


def test_importing_warns_of_nothing_and_needs_neither_the_clone_nor_its_names(
    installed: Installed, tmp_path: Path
) -> None:
    code = "import sys, permafrost; from permafrost import Aligner; print(permafrost.__file__, Aligner.__module__)"
    said = installed.run(
        "python", "-W", "error", "-c", code + "; assert not {'pipeline', 'stages'} & {*sys.modules}", cwd=tmp_path
    )
    file, module = said.split()
    assert Path(file).is_relative_to(installed.folder)
    assert module.startswith("permafrost.")
    absent = "import importlib.util as u; assert not u.find_spec('pipeline') and not u.find_spec('stages')"
    installed.run("python", "-c", absent, cwd=tmp_path)


def test_an_aligner_loads_and_gives_the_vectors_of_the_clone(
    installed: Installed, project: Project, tmp_path: Path
) -> None:
    picture = str(project.pictures[0])
    code = (
        "import json, sys; from permafrost import Aligner; a = Aligner.from_pretrained(sys.argv[1], device='cpu'); "
        "print(json.dumps([a.encode_image(sys.argv[2]).tolist(), a.encode_text('a bridge').tolist()]))"
    )
    said = installed.run("python", "-c", code, str(project.model("grid")), picture, cwd=tmp_path)
    here = aligner(project)
    for theirs, ours in zip(
        json.loads(said.splitlines()[-1]), (here.encode_image(picture), here.encode_text("a bridge")), strict=True
    ):
        assert torch.allclose(torch.tensor(theirs), torch.from_numpy(ours), atol=1e-5)


def test_the_report_is_rendered(installed: Installed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small = SmallProject(tmp_path)
    small.configure(one_aligner())
    small.evaluated("retrieval", (row("plain"),))
    code = (
        "from pathlib import Path; from permafrost.config import load_config; "
        "from permafrost.reporting import write_report; "
        "write_report(Path('report'), load_config().settings('report'))"
    )
    installed.run("python", "-c", code, cwd=tmp_path)
    assert "50.0" in (tmp_path / "report" / "index.html").read_text(encoding="utf-8")


def test_in_a_clone_both_names_are_the_same_modules() -> None:
    assert import_module("permafrost") is pipeline
    assert import_module("permafrost.errors") is pipeline.errors
    assert import_module("permafrost.features").FeatureStore is import_module("pipeline.features").FeatureStore
    assert pipeline.errors.__spec__ is not None
    assert pipeline.errors.__spec__.name == "pipeline.errors"
    with pytest.raises(ModuleNotFoundError):
        import_module("permafrost.no_such_module")


def test_the_command_is_there_and_works_in_a_working_folder(
    installed: Installed, project: Project, tmp_path: Path
) -> None:
    assert installed.run("permafrost", "--version", cwd=tmp_path) == f"permafrost {__version__}\n"
    assert "source: folder" in installed.run(
        "permafrost", "init", str(project.root / "pictures"), "--dry-run", cwd=tmp_path
    )
    found = installed.run("permafrost", "search", str(project.model("grid")), "a bridge", "--json", cwd=tmp_path)
    assert len(json.loads(found)) == len(project.pictures)
    module = installed.run("python", "-m", "permafrost", "--help", cwd=tmp_path)
    assert "a first hour" in module
