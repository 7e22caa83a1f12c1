from pathlib import Path

import pytest

from tests.alignment.toy import World


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A small world on disk, with the working directory in it."""
    monkeypatch.chdir(tmp_path)
    return World(tmp_path, families=16, concepts_per_family=2).write()
