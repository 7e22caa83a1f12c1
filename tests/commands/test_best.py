"""`permafrost init --preset best`: entries added to the default params.yaml, whose lines stay as they are."""

import difflib
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.commands.best import ENTRIES, PACKAGES, with_best
from pipeline.config import load_config
from pipeline.encoders.embedded.credits import CREDITS
from pipeline.errors import ConfigError
from tests.commands.conftest import Command

DEFAULT = (Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8")


def at(raw: Any, section: str) -> Any:
    for part in section.split("."):
        raw = raw[part]
    return raw


def test_it_adds_entries_and_leaves_every_line(clone: Path, permafrost: Command) -> None:
    (clone / "params.yaml").write_text(DEFAULT, encoding="utf-8")
    answer = permafrost.json("init", "--preset", "best")
    written = (clone / "params.yaml").read_text(encoding="utf-8")
    changes = [line for line in difflib.ndiff(DEFAULT.splitlines(), written.splitlines()) if line[:2] == "- "]
    assert [line.split()[1] for line in changes] == ["versus:"], "the one line that holds all its entries"
    before, after = yaml.safe_load(DEFAULT), yaml.safe_load(written)
    for section, entries in ENTRIES.items():
        assert at(after, section) == at(before, section) | entries
    params = load_config(clone / "params.yaml").params
    assert params.members("four") == ("vit", "lite0", "lite1", "lite2")
    assert [params.encoders[params.stored_views[view].encoder].model for view in params.members("control-four")] == [
        "random-vit-s14", "random-efficientnet-lite0", "random-efficientnet-lite1", "random-efficientnet-lite2",
    ]  # fmt: skip
    assert answer["next"][1:] == ["dvc repro train_fused@best", "dvc repro"]


def test_the_packages_are_those_of_its_encoders() -> None:
    credited = {package for credit in CREDITS.values() for package in credit.packages}
    assert set(PACKAGES) <= credited
    assert len(set(PACKAGES)) == 7


def test_twice_changes_nothing(clone: Path, permafrost: Command) -> None:
    once = with_best(DEFAULT)
    (clone / "params.yaml").write_text(once, encoding="utf-8")
    permafrost("init", "--preset", "best", code=1)
    assert "has 'lite1' under `encoders` already; nothing was changed" in permafrost.error
    assert (clone / "params.yaml").read_text(encoding="utf-8") == once


@pytest.mark.parametrize(
    ("line", "lacking"),
    [("  control-lite0:", "no 'control-lite0' under `views`"), ("  stamps:", "no 'stamps' under `datasets`")],
)
def test_it_is_of_the_default(line: str, lacking: str) -> None:
    with pytest.raises(ConfigError, match=lacking):
        with_best(DEFAULT.replace(line, line.replace("  ", "  other-")))


def test_it_takes_no_data_and_all_else_does(clone: Path, permafrost: Command) -> None:
    (clone / "params.yaml").write_text(DEFAULT, encoding="utf-8")
    permafrost("init", clone, "--preset", "best", code=1)
    assert "leave everything else out" in permafrost.error
    permafrost("init", code=1)
    assert "Say where the data are" in permafrost.error
    assert (clone / "params.yaml").read_text(encoding="utf-8") == DEFAULT
