"""Names of files reach the terminal with escapes in place of whatever it would obey."""

import io
import logging
import subprocess
import sys
import unicodedata
import warnings
from pathlib import Path

import pytest
from tqdm import tqdm

from pipeline.terminal import Shield, harmless, shielded, shown

TITLE = "\x1b]0;owned\x07"
HOSTILE = {
    "title": TITLE,
    "clear": "\x1b[2J\x1b[H",
    "c1": "\x9b31m",
    "backspace": "ok\b\b",
    "bell": "\a",
    "delete": "\x7f",
    "nul": "\0",
    "right to left": "photo\u202egpj.exe",
    "isolate": "\u2066x\u2069",
    "separator": "a\u2028error: b",
    "half": "a\ud800",
    "undecodable": "caf\udce9",
}
KEPT = ["plain", "Füße", "ภาษาไทย", "می‌خواهم", "👩‍🚀", "日本語", "a\u200fb", "tab\there"]


def obeyed(text: str) -> list[str]:
    """The characters of a text that are for the terminal, or that no file in UTF-8 holds."""
    allowed = "\n\t"
    return [c for c in text if c not in allowed and unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")] + [
        c for c in text if "\u202a" <= c <= "\u202e" or "\u2066" <= c <= "\u2069"
    ]


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_is_left_to_obey(name: str) -> None:
    text = HOSTILE[name]
    assert obeyed(text)
    for made in (harmless(text), shown(text)):
        assert not obeyed(made)
        made.encode("utf-8")
    assert shown(Path("a\n\r\tb")) == "a\\n\\r\\tb"
    assert shown(TITLE) == "\\x1b]0;owned\\x07"


@pytest.mark.parametrize("text", KEPT)
def test_letters_of_every_language_stay(text: str) -> None:
    assert harmless(text) == text


def test_every_way_to_the_terminal_is_shielded(capsys: pytest.CaptureFixture[str]) -> None:
    log = logging.Logger("hostile")
    for text in HOSTILE.values():
        with shielded():
            log.handlers = [logging.StreamHandler(sys.stderr)]
            print("printed", text)
            sys.stdout.writelines(["lines", text, "\n"])
            log.warning("logged %s", text)
            log.warning("\rfrom the start of the line")
            sys.stderr.write(warnings.formatwarning(text, UserWarning, "file", 1, text))  # as Python shows it
            sys.stderr.write(f"error: {text}\n")
            for _ in tqdm(range(2), desc=f"bar {text}", file=sys.stderr, mininterval=0):
                pass
    out, err = capsys.readouterr()
    assert not obeyed(out)
    assert "\\rfrom the start of the line" in err
    assert not obeyed(err.replace("\r", ""))
    for word in ("logged", "error:", "bar"):
        assert word in err


def test_bars_move_as_they_do_without() -> None:
    """One above another."""

    def written(stream: io.StringIO, target: object) -> str:
        with (
            tqdm(
                total=2, desc="one", file=target, position=0, mininterval=0, ascii=True, bar_format="{desc} {n}"
            ) as one,
            tqdm(
                total=2, desc="two", file=target, position=1, mininterval=0, ascii=True, bar_format="{desc} {n}"
            ) as two,
        ):
            one.update()
            two.update()
        return stream.getvalue()

    bare, covered = io.StringIO(), io.StringIO()
    assert written(covered, Shield(covered)) == written(bare, bare)
    assert "\x1b[A" in bare.getvalue()


def test_streams_are_put_back_and_shielded_once() -> None:
    before = sys.stdout, sys.stderr
    with shielded():
        inside = sys.stdout
        assert isinstance(inside, Shield)
        with shielded():
            assert sys.stdout is inside
    assert (sys.stdout, sys.stderr) == before


def test_what_the_terminal_cannot_show_does_not_end_the_program() -> None:
    code = "from pipeline.terminal import shielded\nwith shielded(): print('日本 caf\\udce9 \\x1b')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONIOENCODING": "ascii", "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "\\u65e5\\u672c caf\\udce9 \\x1b\n"
