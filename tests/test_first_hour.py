"""docs/first_hour.md says what the timed run said, and what it promises: three commands, no edit, ten minutes."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "first_hour.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
RUN = json.loads((ROOT / "docs" / "pictures" / "first_hour.json").read_text(encoding="utf-8"))
COMMANDS = RUN["commands"]


def test_a_searchable_aligner_in_three_commands_and_ten_minutes() -> None:
    needed = [entry["command"] for entry in COMMANDS[:3]]
    assert [command.split()[0] for command in needed] == ["make", "source", "permafrost"]
    assert sum(entry["seconds"] for entry in COMMANDS[:3]) < 600


def test_the_readme_has_these_commands() -> None:
    (block,) = (block for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL) if "make mine" in block)
    typed = [line.partition("#")[0].split()[0:2] for line in block.splitlines()]
    assert typed == [entry["command"].split()[0:2] for entry in COMMANDS[:3]]


@pytest.mark.parametrize("number", range(len(COMMANDS)))
def test_seconds_are_those_of_the_run(number: int) -> None:
    entry = COMMANDS[number]
    (line,) = (line for line in PAGE.splitlines() if line.startswith(f"| `{entry['command']}`"))
    assert float(line.split("|")[2]) == round(entry["seconds"])


def test_parts_of_the_first_command_are_those_of_the_run() -> None:
    lines = [(at, text) for at, text in COMMANDS[0]["output"]]
    (ready,) = (at for at, text in lines if text.startswith("set-up: ready"))
    assert f"{round(ready)} s of it installation" in PAGE


def test_what_was_found_is_what_is_shown() -> None:
    plain = re.compile(r"\x1b\[[0-9;]*m")
    said = [plain.sub("", text).rstrip() for _, text in COMMANDS[2]["output"]]
    shown = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)[0].splitlines()
    assert shown[0] == f"$ {COMMANDS[2]['command']}"
    assert [line.rstrip() for line in shown[1:]] == [line for line in said if line]


PICTURES = sorted((ROOT / "docs" / "pictures").glob("first_hour*"))


@pytest.mark.parametrize("picture", PICTURES, ids=[path.name for path in PICTURES])
def test_pictures_are_small_and_load_nothing(picture: Path) -> None:
    assert picture.stat().st_size < 200_000
    if picture.suffix == ".svg":
        assert not re.search(r"url\(['\"]?http|<image|href=", picture.read_text(encoding="utf-8"))
