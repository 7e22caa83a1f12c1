"""One project for the whole session: what a test edits, it puts back."""

from pathlib import Path

import pytest

from tests.dag.project import Project


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    root: Path = tmp_path_factory.mktemp("project")
    made = Project(root / "work", root / "outside")
    made.first_run = made.repro()
    made.commit("first run")
    return made
