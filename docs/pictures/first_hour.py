"""The first hour as a newcomer has it, done and timed: sixty captioned pictures, three commands, and what they print.

    python docs/pictures/first_hour.py pictures FOLDER            # makes them, in a project where `make repro` has run
    python docs/pictures/first_hour.py run CLONE FOLDER           # runs the commands of README in a fresh clone
    python docs/pictures/first_hour.py draw CLONE                 # draws first_hour*.svg and .png of that run

`run` writes first_hour.json, which a test compares with docs/first_hour.md. `draw` needs a Chromium (tests/reporting).
The pictures are Noto emoji (Apache-2.0), evenly spaced over five categories, their captions the names of Unicode CLDR,
in a table as a spreadsheet exports it and under names of files as people have them.
"""

import argparse
import csv
import json
import os
import platform
import pty
import re
import shlex
import subprocess
import sys
import time
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from pipeline.datasets.decode import ImageTable  # noqa: E402

HERE = Path(__file__).parent
RECORD = HERE / "first_hour.json"
INDEX = Path("data/index/pairs/emoji")
CATEGORIES = ("animals & nature", "food & drink", "travel & places", "objects", "activities")
EACH = 12
PATTERNS = ("{}.png", "{} (1).PNG", "IMG_{}.jpg", "50% {}, final.png", "«{}».webp", "a#{};b.jpeg")
QUERIES = ("something to eat", "an animal in the sea")
LOADED = "[...document.querySelectorAll('#results img')].slice(0, 6).every(one => one.complete && one.naturalWidth)"
WIDTH = 100  # characters of the terminal
_ENVIRONMENT = "source .venv/bin/activate"
_BARS = re.compile(r"Committing |memory://|^!?\s*$|WARNING: 'data/")  # of DVC, as they stand when they are done


def make_pictures(folder: Path) -> None:
    """Sixty pictures and captions.csv, out of the index of a finished run in the working directory."""
    table = ImageTable(INDEX)
    keys = pq.read_table(INDEX / "images.parquet", columns=["image_id", "key"]).to_pylist()
    noto = {row["image_id"] for row in keys if row["key"].startswith("noto/")}
    labels = [row for row in pq.read_table(INDEX / "labels.parquet").to_pylist() if row["image_id"] in noto]
    folder.mkdir(parents=True)
    rows = []
    for category in CATEGORIES:
        names = sorted((row["classname"], row["image_id"]) for row in labels if row["category"] == category)
        for name, identifier in names[:: len(names) // EACH][:EACH]:
            file = PATTERNS[len(rows) % len(PATTERNS)].format(name)
            picture = table.load(table.ids.index(identifier)).resize((320, 320), Image.Resampling.LANCZOS)
            picture.save(folder / file)
            rows.append((file, name))
    with open(folder / "captions.csv", "w", encoding="utf-8-sig", newline="") as out:
        csv.writer(out, dialect="excel").writerows([("Filename", "Caption"), *rows])


def run(clone: Path, pictures: Path) -> None:
    """Run the commands in a clone that was never used, and write what they printed and how long they took."""
    commands = [f"make mine DATA={shlex.quote(str(pictures))}", _ENVIRONMENT]
    commands += [f"permafrost search data/models/mine {json.dumps(query)} -k 5" for query in QUERIES]
    commands += ["dvc repro"]
    done = [timed(command, clone) for command in commands if command != _ENVIRONMENT]
    for entry in done:
        for path, short in ((pictures.parent, like(pictures.parent)), (clone.resolve(), "~/permafrost")):
            entry["command"] = entry["command"].replace(str(path), short)
            entry["output"] = [[at, line.replace(str(path), short)] for at, line in entry["output"]]
    done.insert(1, {"command": _ENVIRONMENT, "seconds": 0.0, "output": []})
    machine = {"cores": os.cpu_count(), "processor": processor(), "python": platform.python_version()}
    RECORD.write_text(json.dumps({"machine": machine, "commands": done}, indent=1, ensure_ascii=False) + "\n", "utf-8")


def like(folder: Path) -> str:
    """A path of the same length, so that tables stay in line, which says nothing of this machine."""
    return "/home/".ljust(len(str(folder)), "m")


def processor() -> str:
    named = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return named[1].strip() if named else platform.processor()


def timed(command: str, folder: Path) -> dict[str, Any]:
    """Run a command on a terminal of its own; its seconds, and each line with the second at which it ended."""
    environment = {**os.environ, "PATH": f"{folder / '.venv' / 'bin'}:{os.environ['PATH']}", "TERM": "xterm-256color"}
    for name in ("VIRTUAL_ENV", "NO_COLOR", "PYTHONPATH"):
        environment.pop(name, None)
    here, there = pty.openpty()
    started = time.monotonic()
    process = subprocess.Popen(
        f"stty cols {WIDTH} rows 40; {command}",
        shell=True,
        cwd=folder,
        env=environment,
        stdin=there,
        stdout=there,
        stderr=there,
    )
    os.close(there)
    lines, pending = [], b""
    while True:
        try:
            read = os.read(here, 65536)
        except OSError:  # the last process has closed it
            break
        *ended, pending = (pending + read).split(b"\n")
        at = round(time.monotonic() - started, 1)
        lines += [[at, text] for text in map(last_state, ended) if not _BARS.search(text)]
    if process.wait():
        raise SystemExit(f"{command} ended with {process.returncode}:\n" + "\n".join(line for _, line in lines[-20:]))
    return {"command": command, "seconds": round(time.monotonic() - started, 1), "output": lines}


def last_state(line: bytes) -> str:
    """What a terminal shows of a line that was overwritten."""
    return line.decode("utf-8", "replace").rstrip("\r").rpartition("\r")[2].replace("\x1b[K", "").replace("\x1b[A", "")


def draw(clone: Path) -> None:
    """The terminal as SVG, the explorer and the report as small PNGs."""
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    (HERE / "first_hour.svg").write_text(terminal(record), encoding="utf-8")
    from tests.reporting.browser import launched

    command = [clone / ".venv" / "bin" / "python", "-m", "pipeline.explorer", "--port", "0"]
    explorer = subprocess.Popen(command, cwd=clone, stdout=subprocess.PIPE, text=True)
    try:
        assert explorer.stdout is not None
        address = explorer.stdout.readline().split()[0]
        with launched() as browser:
            page = browser.new_page(viewport={"width": 1000, "height": 620}, bypass_csp=True)
            page.goto((clone / "data/report/index.html").resolve().as_uri())
            page.wait_for_timeout(500)
            small(page.screenshot(), HERE / "first_hour_report.png")
            page.goto(address)
            page.set_default_timeout(120_000)
            page.locator("#status").filter(has_text="Ready.").wait_for()
            page.select_option("#aligner", "mine")
            page.fill("#query", QUERIES[1])
            page.keyboard.press("Enter")
            page.locator("#status").filter(has_text="Nearest first.").wait_for()
            page.wait_for_function(LOADED)
            page.wait_for_timeout(500)
            small(page.screenshot(), HERE / "first_hour_explorer.png")
    finally:
        explorer.terminate()


def terminal(record: dict[str, Any]) -> str:
    """What is worth seeing of the session; rich draws it, without the font that it would load from elsewhere."""
    from rich.console import Console
    from rich.text import Text

    console = Console(record=True, width=WIDTH, file=StringIO(), force_terminal=True)
    for entry in record["commands"][:-1]:
        console.print(Text("$ ", style="bold green") + Text(entry["command"], style="bold"))
        for line in shown([line for _, line in entry["output"]]):
            console.print(Text.from_ansi(line), soft_wrap=False, overflow="ellipsis", no_wrap=True)
    drawn = console.export_svg(title="sixty pictures, three commands")
    return re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL)


def shown(lines: list[str]) -> list[str]:
    """Without the installation and what DVC says of itself."""
    plain = re.compile(r"\x1b\[[0-9;]*m")
    noise = re.compile(
        r"^(set-up: pip|make|\"|Updating lock|To track|\tgit add|To enable|\tdvc config|Use `dvc push|Generating|PATH=)"
    )
    kept: list[str] = []
    for line in lines:
        text = plain.sub("", line)
        if not noise.match(text) and (text.strip() or (kept and plain.sub("", kept[-1]).strip())):
            kept.append(line)
    return kept


def small(png: bytes, path: Path) -> None:
    picture = Image.open(BytesIO(png)).convert("RGB").quantize(128, dither=Image.Dither.NONE)
    picture.save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("pictures").add_argument("folder", type=Path)
    running = commands.add_parser("run")
    running.add_argument("clone", type=Path)
    running.add_argument("folder", type=Path)
    commands.add_parser("draw").add_argument("clone", type=Path)
    given = parser.parse_args()
    if given.command == "pictures":
        make_pictures(given.folder)
    elif given.command == "run":
        run(given.clone, given.folder.resolve())
    else:
        draw(given.clone)


if __name__ == "__main__":
    main()
