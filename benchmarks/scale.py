"""Seconds, peak memory and bytes a row of each stage, on projects of growing size, with the forecast for 20 M pairs.

    python benchmarks/scale.py 100000 1000000
    python benchmarks/scale.py 5000000 --stream --folder /data/scale

Each size is a project of `scale_project.py` in a folder of its own, which is kept if `--folder` is given, so that a run
that was stopped goes on with the stages that are missing from benchmarks/results/scale.json. Every stage runs in a
process of its own, as DVC runs it. Bytes a row are the growth of the peak from the size before, the first of which is
`BASE` rows: nearly all that libraries take by themselves. Below some 300,000 rows they count buffers of fixed size as
well, such as groups of 65,536 rows of a table. A peak is everything resident, pages of mapped files included.
"""

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from scale_project import stages

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "benchmarks" / "results" / "scale.json"
BASE = 2000
TARGET = 20_000_000
MEMORY = 24 * 2**30


def measured(command: list[str], folder: Path) -> dict[str, Any]:
    """Run one stage; its seconds, peak memory in bytes, and what else the machine was doing."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PERMAFROST_WORK": str(folder / "work")}
    load, started = os.getloadavg()[0], time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *command], cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    said = process.stderr.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status:
        sys.exit(f"{' '.join(command)} failed in {folder}:\n{said[-3000:]}")
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_bytes": peak,
        "load_before": round(load, 1),
    }


def run_size(rows: int, folder: Path, mode: str, results: dict[str, Any]) -> None:
    """Run the stages that results lack of this size, and write the results after each."""
    size = results["sizes"].setdefault(str(rows), {"features": mode, "stages": {}})
    if not (folder / "params.yaml").is_file():
        # in a process of its own: the peak of a child begins with that of its parent
        made = [sys.executable, str(Path(__file__).with_name("scale_project.py")), str(folder), str(rows), mode]
        subprocess.run(made, check=True)
        size["stages"] = {}
    for name, command in stages():
        if name not in size["stages"]:
            size["stages"][name] = measured(command, folder)
            report(results)
            OUT.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
            print(f"{rows:>10} {name:22} {size['stages'][name]}", flush=True)


def report(results: dict[str, Any]) -> None:
    """Add what follows from the results: bytes a row over the size before, and the forecast from the largest two."""
    forecast: dict[str, Any] = {}
    sizes = sorted(map(int, results["sizes"]))
    for before, rows in itertools.pairwise(sizes):
        smaller, larger = (results["sizes"][str(size)]["stages"] for size in (before, rows))
        for name in [name for name in larger if name in smaller]:
            grown = (larger[name]["peak_bytes"] - smaller[name]["peak_bytes"]) / (rows - before)
            larger[name]["bytes_a_row"] = round(grown, 1)
            peak = larger[name]["peak_bytes"] + max(0.0, grown) * max(0, TARGET - rows)
            forecast[name] = {"from_rows": [before, rows], "peak_gib": round(peak / 2**30, 2), "fits": peak < MEMORY}
    results["forecast"] = {"rows": TARGET, "memory_gib": MEMORY / 2**30, "stages": forecast}


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


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description="Memory and time of the stages by number of rows.")
    parser.add_argument("rows", type=int, nargs="+", help="sizes, in rows")
    parser.add_argument("--folder", type=Path, help="where the projects are kept; else they are removed")
    parser.add_argument("--stream", action="store_true", help="train.features: stream")
    given = parser.parse_args()
    machine = {"cores": os.cpu_count(), "memory_gib": round(psutil.virtual_memory().total / 2**30, 1)}
    results: dict[str, Any] = {"machine": machine, "sizes": {}}
    if OUT.is_file():
        results |= json.loads(OUT.read_text(encoding="utf-8")) | {"machine": machine}
    for rows in [BASE, *given.rows]:
        mode = "stream" if given.stream and rows != BASE else "auto"
        folder = given.folder / str(rows) if given.folder else Path(tempfile.mkdtemp(prefix="scale-"))
        try:
            run_size(rows, folder, mode, results)
        finally:
            if not given.folder:
                shutil.rmtree(folder, ignore_errors=True)
    print(table(results))


if __name__ == "__main__":
    main()
