"""A small project in the working directory."""

from pathlib import Path

import pytest

from tests.reporting.small import SmallProject


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallProject:
    monkeypatch.chdir(tmp_path)
    return SmallProject(tmp_path)
