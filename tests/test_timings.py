"""The journal of timings: one line per run, the last of a stage counts."""

import json
import logging
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.paths import WORK_VARIABLE
from pipeline.timings import journal_path, last_timings, record


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(WORK_VARIABLE, str(tmp_path / "work"))
    return tmp_path / "work"


def test_nothing_ran_here() -> None:
    assert last_timings() == {}


def test_the_last_run_of_each_stage_counts() -> None:
    record("encode", "emoji-vit")
    record("splits", "")
    first = last_timings()
    time.sleep(0.01)
    record("encode", "emoji-vit")
    second = last_timings()
    assert set(second) == {"encode@emoji-vit", "splits"}
    assert second["splits"] == first["splits"]
    assert float(second["encode@emoji-vit"]["seconds"]) > float(first["encode@emoji-vit"]["seconds"])
    assert len(journal_path().read_text().splitlines()) == 3


def test_a_process_is_measured_from_its_start_and_at_its_peak(work: Path) -> None:
    code = (
        "import time, psutil; from pipeline.timings import record\n"
        "lived = time.time() - psutil.Process().create_time()\n"
        "block = bytearray(300_000_000); block[::4096] = b'x' * len(block[::4096]); del block\n"
        "record('train', 'default'); print(lived)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    (line,) = (json.loads(text) for text in (work / "timings.jsonl").read_text().splitlines())
    assert line["stage"] == "train@default"
    assert line["seconds"] >= round(float(done.stdout), 3)
    assert line["peak_bytes"] > 300_000_000  # Linux counts what the process was before `exec`, so no upper bound


def test_the_journal_is_beside_the_cache_of_dvc_by_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(WORK_VARIABLE)
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "inside").mkdir()
    monkeypatch.chdir(tmp_path / "inside")
    record("index", "emoji")
    assert list(last_timings()) == ["index@emoji"]
    assert (tmp_path / ".dvc/permafrost/timings.jsonl").is_file()


def test_a_torn_line_is_skipped_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    record("splits", "")
    with open(journal_path(), "a", encoding="utf-8") as file:
        file.write('{"stage": "train@def\n[1]\n{"seconds": 3}\n')
    record("prompts", "")
    with caplog.at_level(logging.WARNING):
        assert set(last_timings()) == {"splits", "prompts"}
    assert [f"line {number} is skipped" in caplog.text for number in (1, 2, 3, 4, 5)] == [
        False,
        True,
        True,
        True,
        False,
    ]
