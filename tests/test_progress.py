"""Progress in a log is lines, few of them; on a terminal it is a bar."""

import io

import pytest

from pipeline.progress import tqdm


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_short_task_leaves_nothing_in_a_log() -> None:
    log = io.StringIO()
    assert list(tqdm(range(1000), desc="encode", unit="row", file=log)) == list(range(1000))
    with tqdm(total=5, file=log) as bar:
        bar.update(5)
    assert log.getvalue() == ""


def test_a_long_one_writes_whole_lines_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tqdm, "SECONDS", 0.0)
    log = io.StringIO()
    with tqdm(total=40, desc="mine", unit="row", initial=10, file=log, miniters=1) as bar:
        for _ in range(3):
            bar.update(10)
    lines = log.getvalue().split("\n")
    assert lines.pop() == ""
    assert [line.split(",")[0] for line in lines] == [
        "mine: 20 of 40 rows",
        "mine: 30 of 40 rows",
        "mine: 40 of 40 rows",
    ]
    assert not {"\r", "|", "\x1b"} & {*log.getvalue()}


def test_a_terminal_has_the_bar() -> None:
    terminal = Terminal()
    list(tqdm(range(3), desc="mine", file=terminal, mininterval=0))
    assert "\rmine" in terminal.getvalue()
    assert "3/3" in terminal.getvalue()
