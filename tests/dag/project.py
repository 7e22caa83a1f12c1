"""A copy of this project in a folder of its own, with DVC and Git, for tests that run the DAG as a user does."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import yaml

from tests.dag import tiny

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("dvc.yaml", ".dvcignore", ".gitignore", "pipeline", "stages", ".dvc/config", ".dvc/.gitignore", ".dvc/plots")


class Project:
    """Runs commands in a copy of the project and says which stages and which backbones ran.

    Attributes:
        commands: a folder that stands first on the PATH, once `zygote.commands` has made it.
    """

    commands: ClassVar[Path | None] = None

    def __init__(self, folder: Path, outside: Path, first_run: set[str]) -> None:
        self.folder = folder
        self.outside = outside
        self.first_run = first_run
        self.pictures = tiny.PICTURES

    @classmethod
    def made(cls, folder: Path, outside: Path) -> "Project":
        """A new project with its encoders and pictures in `outside`, and one run behind it."""
        for name, seed in (("eye-a", 0), ("eye-b", 1), ("eye-c", 2)):
            tiny.write_image_checkpoint(outside / name, seed)
        for name, seed in (("words-a", 3), ("words-b", 4)):
            tiny.write_text_checkpoint(outside / name, seed)
        tiny.write_pictures(outside / "pictures")
        project = cls.started(folder, outside, tiny.tiny_params(outside, tiny.PICTURES - 1))
        project.first_run = project.repro()
        project.commit("first run")
        return project

    @classmethod
    def started(cls, folder: Path, outside: Path, params: dict[str, Any]) -> "Project":
        """A new project with these parameters, in which nothing has run."""
        for name in COPIED:
            source, target = ROOT / name, folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
        project = cls(folder, outside, set())
        project.write_params(params)
        project.run("git", "init", "-q")
        project.commit("start")
        return project

    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PERMAFROST_", "GIT_", "DVC_"))}
        first = [str(folder) for folder in (self.commands, Path(sys.executable).parent) if folder]
        kept["PATH"] = os.pathsep.join([*first, kept.get("PATH", "")])
        identity = {
            "GIT_AUTHOR_NAME": "t",
            "GIT_AUTHOR_EMAIL": "t@t",
            "GIT_COMMITTER_NAME": "t",
            "GIT_COMMITTER_EMAIL": "t@t",
        }
        return kept | identity | {"DVC_NO_ANALYTICS": "1", "HF_HUB_OFFLINE": "1", "CI": "true"}

    def attempt(self, *command: str, cwd: Path | None = None, **extra: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=cwd or self.folder,
            env=self.environment() | extra,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )

    def run(self, *command: str, cwd: Path | None = None, **extra: str) -> str:
        done = self.attempt(*command, cwd=cwd, **extra)
        assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def commit(self, message: str) -> None:
        self.run("git", "add", "-A")
        self.run("git", "commit", "-q", "--allow-empty", "-m", message)

    def params(self) -> dict[str, Any]:
        loaded: dict[str, Any] = yaml.safe_load((self.folder / "params.yaml").read_text())
        return loaded

    def write_params(self, params: dict[str, Any]) -> None:
        (self.folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))

    def edit(self, path: str, value: Any) -> None:
        """Set the parameter at a dotted path."""
        params = self.params()
        *parents, last = path.split(".")
        section: Any = params
        for part in parents:
            section = section[part]
        section[last] = value
        self.write_params(params)

    def repro(self, *arguments: str) -> set[str]:
        """`dvc repro`; returns the stages whose command ran, less those that read params.yaml and list raw files."""
        output = self.run("dvc", "repro", *arguments)
        started = (line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage '"))
        return set(started) - {"settings", "listing"}

    def status(self) -> str:
        """`dvc status`, less the listing of raw files, which counts as changed at any time."""
        output = self.run("dvc", "status").replace("listing:\n\talways changed\n", "")
        return output.strip() or "up to date"

    def journal(self) -> list[dict[str, Any]]:
        path = self.folder / ".dvc" / "permafrost" / "scratch" / "journal.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []

    def passes(self, since: int = 0) -> Counter[str]:
        """Rows that went through a backbone, per store, from line `since` of the journal on."""
        counted: Counter[str] = Counter()
        for line in self.journal()[since:]:
            if line["encoded"]:
                counted[line["store"]] += line["encoded"]
        return counted
