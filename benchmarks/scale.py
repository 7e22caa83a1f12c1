"""Seconds, peak memory and bytes a row of each stage, on projects of growing size, with the forecast for 20 M pairs.

    python benchmarks/scale.py 100000 1000000
    python benchmarks/scale.py 5000000 --stream --tables --folder /data/scale

Each size is a project of `scale_project.py` in a folder of its own, which is kept if `--folder` is given, so that a run
that was stopped goes on with the stages that are missing from benchmarks/results/scale.json. Every stage runs in a
process of its own, as DVC runs it. Bytes a row are the growth of its own memory from the size before, the first of
which is `BASE` rows: nearly all that libraries take by themselves. Below some 300,000 rows they count buffers of fixed
size as well, such as groups of 65,536 rows of a table. `peak_bytes` is everything resident; `own_peak_bytes`, sampled,
leaves out pages of mapped files, which the system takes back when it needs the room. With `--tables` the stage `index`
is left out, and what it would write is written by `scale_index.py`.
"""

import argparse
import itertools
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from scale_project import stages

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "benchmarks" / "results" / "scale.json"
BASE = 2000
INDEX = "index@mine"
TARGET = 20_000_000
CROWDED = 0.1  # of a processor: with less, a stage waits for others nearly all the time
MEMORY = 24 * 2**30


def measured(command: list[str], folder: Path) -> dict[str, Any]:
    """Run one stage; its seconds, its memory in bytes, what it wrote, and what else the machine was doing."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PERMAFROST_WORK": str(folder / "work")}
    load, started, disk = os.getloadavg()[0], time.perf_counter(), used(folder)
    with open(folder / "said", "w+b") as said:
        process = subprocess.Popen([sys.executable, *command], cwd=folder, env=environment, stdout=said, stderr=said)
        watch = Watch(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
        own = watch.stop()
        seconds = time.perf_counter() - started
        if status:
            said.seek(0)
            sys.exit(f"{' '.join(command)} failed in {folder}:\n{said.read().decode()[-3000:]}")
    return {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_bytes": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        "own_peak_bytes": own,
        "written_bytes": used(folder) - disk,
        "load_before": round(load, 1),
    }


class Watch(threading.Thread):
    """Notes the most that a process has of its own, twenty times a second: without pages of mapped files."""

    def __init__(self, process: int) -> None:
        super().__init__(daemon=True)
        self._status, self._ended, self._most = Path(f"/proc/{process}/status"), threading.Event(), 0
        self.start()

    def run(self) -> None:
        while not self._ended.wait(0.05):
            with suppress(OSError):
                lines = dict(line.split(":", 1) for line in self._status.read_text().splitlines() if ":" in line)
                own = sum(int(lines[key].split()[0]) for key in ("RssAnon", "RssShmem") if key in lines) << 10
                self._most = max(self._most, own)

    def stop(self) -> int:
        self._ended.set()
        self.join()
        return self._most


def used(folder: Path) -> int:
    """Bytes that a folder takes on the disk, a file with several names once."""
    done = subprocess.run(["du", "-s", "-B1", str(folder)], stdout=subprocess.PIPE, check=True, text=True)
    return int(done.stdout.split()[0])


def run_size(
    rows: int,
    folder: Path,
    mode: str,
    results: dict[str, Any],
    out: Path,
    until: str | None = None,
    tables: bool = False,
) -> None:
    """Run the stages that results lack of this size, and write the results after each.

    Args:
        until: the last one to run.
        tables: write the tables of the index in place of running its stage.
    """
    size = results["sizes"].setdefault(str(rows), {"features": mode, "stages": {}})
    if not (folder / "params.yaml").is_file():
        # in a process of its own: the peak of a child begins with that of its parent
        print(f"{rows:>10} made", flush=True)
        made = [sys.executable, str(Path(__file__).with_name("scale_project.py")), str(folder), str(rows), mode]
        subprocess.run(made, check=True)
        size["stages"] = {}
    for name, command in stages():
        if tables and name == INDEX:
            if not (folder / "data" / "index" / "pairs" / "mine" / "about.json").is_file():
                write = [sys.executable, str(Path(__file__).with_name("scale_index.py")), str(folder), str(rows)]
                subprocess.run(write, check=True)
        elif name not in size["stages"]:
            print(f"{rows:>10} {name:22}", end=" ", flush=True)
            size["stages"][name] = measured(command, folder)
            report(results)
            out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
            print(size["stages"][name], flush=True)
        if name == until:
            break


def report(results: dict[str, Any]) -> None:
    """Add what follows from the results: bytes a row and growth over the size before, the forecast from the last two.

    Growth is the exponent of rows in the seconds of the processor beyond those of the smallest size. A stage that took
    less than a second has none, nor has one that was `cut` (ended once it had held what it holds) or that had hardly
    any of the processor, whose seconds are then those of cold caches.
    """
    forecast: dict[str, Any] = {}
    sizes = sorted(map(int, results["sizes"]))
    base = results["sizes"][str(sizes[0])]["stages"]
    measured_at: dict[str, list[int]] = {}
    for size in sizes:
        for name in results["sizes"][str(size)]["stages"]:
            measured_at.setdefault(name, []).append(size)
    for name, before, rows in ((name, *two) for name, at in measured_at.items() for two in itertools.pairwise(at)):
        smaller, larger = (results["sizes"][str(size)]["stages"][name] for size in (before, rows))
        grown = (_own(larger) - _own(smaller)) / (rows - before)
        larger["bytes_a_row"] = round(grown, 1)
        took = [stage["cpu_seconds"] - base.get(name, stage)["cpu_seconds"] for stage in (smaller, larger)]
        shares = [stage["cpu_seconds"] / max(stage["seconds"], 0.1) for stage in (smaller, larger)]
        if min(took) >= 1.0 and min(shares) >= CROWDED and not (smaller.get("cut") or larger.get("cut")):
            larger["growth"] = round(math.log(took[1] / took[0]) / math.log(rows / before), 2)
        if before == sizes[0]:
            continue  # buffers of fixed size, and samples that are not full yet
        peak = _own(larger) + max(0.0, grown) * max(0, TARGET - rows)
        forecast[name] = {"from_rows": [before, rows], "peak_gib": round(peak / 2**30, 2), "fits": peak < MEMORY}
    results["forecast"] = {"rows": TARGET, "memory_gib": MEMORY / 2**30, "stages": forecast}


def _own(stage: dict[str, Any]) -> int:
    return int(stage["own_peak_bytes"] or stage["peak_bytes"])


def table(results: dict[str, Any]) -> str:
    """Seconds and bytes a row of each stage, and the forecast."""
    sizes = sorted(map(int, results["sizes"]))
    lines = [f"{'stage':22}" + "".join(f"{rows:>12} s   B/row" for rows in sizes) + "   GiB at 20 M"]
    for name, _ in stages():
        cells = []
        for rows in sizes:
            stage = results["sizes"][str(rows)]["stages"].get(name, {})
            cells.append(f"{stage.get('seconds', '-'):>12}   {stage.get('bytes_a_row', '-'):>7}")
        expected = results["forecast"]["stages"].get(name, {}).get("peak_gib", "-")
        lines.append(f"{name:22}" + "".join(cells) + f"   {expected:>11}")
    return "\n".join(lines)


def markdown(results: dict[str, Any]) -> list[str]:
    """The table of docs/scale.md: each stage at the largest size that it was measured at."""
    took, held = ("seconds", "of the processor", "growth"), ("own memory", "with mapped files", "bytes a row")
    lines = [f"| {' | '.join(('stage', 'rows', *took, *held, 'own at 20 M'))} |", "|---|" + "---:|" * 8]
    for name, expected in results["forecast"]["stages"].items():
        rows = expected["from_rows"][1]
        found = results["sizes"][str(rows)]["stages"][name]
        lines.append(
            f"| `{name}` | {rows / 1e6:g} M | {'over ' * bool(found.get('cut'))}{found['seconds']:,.0f} | "
            f"{'over ' * bool(found.get('cut'))}{found['cpu_seconds']:,.0f} | {found.get('growth', '-')} | "
            f"{found['own_peak_bytes'] / 1e9:.2f} GB | {found['peak_bytes'] / 1e9:.2f} GB | "
            f"{found['bytes_a_row']:.0f} | {expected['peak_gib']:.1f} GiB |"
        )
    return lines


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description="Memory and time of the stages by number of rows.")
    parser.add_argument("rows", type=int, nargs="+", help="sizes, in rows")
    parser.add_argument("--folder", type=Path, help="where the projects are kept; else they are removed")
    parser.add_argument("--out", type=Path, default=OUT, help="the results, which are added to")
    parser.add_argument("--until", help="the last stage to run, such as splits or encode@mine-eye")
    parser.add_argument("--stream", action="store_true", help="train.features: stream")
    parser.add_argument("--tables", action="store_true", help="write the tables of the index without its stage")
    given = parser.parse_args()
    machine = {"cores": os.cpu_count(), "memory_gib": round(psutil.virtual_memory().total / 2**30, 1)}
    results: dict[str, Any] = {"machine": machine, "sizes": {}}
    if given.out.is_file():
        results |= json.loads(given.out.read_text(encoding="utf-8")) | {"machine": machine}
    for rows in [BASE, *given.rows]:
        mode = "stream" if given.stream and rows != BASE else "auto"
        folder = given.folder / str(rows) if given.folder else Path(tempfile.mkdtemp(prefix="scale-"))
        try:
            run_size(rows, folder, mode, results, given.out, given.until, given.tables and rows != BASE)
        finally:
            if not given.folder:
                shutil.rmtree(folder, ignore_errors=True)
    print(table(results))


if __name__ == "__main__":
    main()
