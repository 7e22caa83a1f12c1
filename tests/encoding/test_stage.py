"""The command `python -m stages.encode`, with parts and engines."""

import json
from pathlib import Path

import pytest

from tests.encoding.clone import STORE, files, make_clone, run_stage


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("clone") / "my project"
    folder.mkdir()
    make_clone(folder, shard_rows=16)
    return folder


def test_parts_on_the_command_line_make_the_store_of_one_run(clone: Path, tmp_path: Path) -> None:
    whole = run_stage(clone, tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    expected = files(clone / STORE)
    (clone / STORE).rename(tmp_path / "aside")
    second = run_stage(clone, tmp_path / "work", "+part=2/2")
    assert second.returncode == 0, second.stderr
    assert "mine-eye part 2/2: 48 rows in 3 shards to write" in second.stderr
    assert "3 of 6 shards are left to parts 1/2" in second.stderr
    assert not (clone / STORE).exists()
    first = run_stage(clone, tmp_path / "work", "+part=1/2")
    assert "the store is whole" in first.stderr
    assert files(clone / STORE) == expected
    again = run_stage(clone, tmp_path / "work", "+part=1/2")
    assert "no backbone is run" in again.stderr
    timings = [json.loads(line)["stage"] for line in (tmp_path / "work" / "timings.jsonl").read_text().splitlines()]
    assert timings == ["encode@mine-eye+part=2/2", *["encode@mine-eye+part=1/2"] * 2]


@pytest.mark.parametrize(
    ("more", "stage", "message"),
    [
        ("+part=0/3", "encode", "+part=0/3 is no part"),
        ("+part=a/b", "encode", "+part=a/b is no part"),
        ("+part=1/3", "index", "Stage index has no parts"),
    ],
)
def test_a_part_that_is_none(more: str, stage: str, message: str, clone: Path, tmp_path: Path) -> None:
    done = run_stage(clone, tmp_path, more, *(["item=mine"] if stage == "index" else []), stage=stage)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
