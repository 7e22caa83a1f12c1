"""The small project of the inference tests, as the working directory, and the command in this process."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.commands import main
from tests.inference.conftest import Project, copied, project

__all__ = ["copied", "project"]


class Command:
    """Runs `permafrost` and reads what it wrote."""

    def __init__(self, captured: pytest.CaptureFixture[str]) -> None:
        self._captured = captured
        self.error = ""

    def __call__(self, *arguments: str | Path, code: int = 0) -> str:
        self._captured.readouterr()
        assert main(list(map(str, arguments))) == code, self._captured.readouterr()
        said = self._captured.readouterr()
        self.error = said.err
        return said.out

    def json(self, *arguments: str | Path, code: int = 0) -> Any:
        return json.loads(self(*arguments, "--json", code=code))


@pytest.fixture
def permafrost(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


@pytest.fixture
def here(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.chdir(project.root)
    return project


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "clone"
    folder.mkdir()
    (folder / "dvc.yaml").write_text("stages: {}\n")
    monkeypatch.chdir(folder)
    return folder
