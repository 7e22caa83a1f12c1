"""What DVC takes of outputs of many files and of large ones: commit, status, repro with nothing to do, push, pull.

    python benchmarks/dvc_scale.py [--files 100 1000 3000] [--megabytes 1000]

A project whose one stage has an output of so many files of 4 KB, or of one large file; the remote is a folder, so that
what is measured is DVC and not a network. Two costs follow: milliseconds a file and megabytes a second, and from these
what a store of 20 million pairs takes with few large shards and with many small ones. Every case is written as it is
done, benchmarks/results/dvc_scale.json, and one that is there is not run again; `--again` forgets them.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

OUT = Path(__file__).resolve().parent / "results" / "dvc_scale.json"
SMALL = 4096  # bytes of a small file
STEPS = {
    "commit": ("commit", "--force"),
    "status": ("status",),
    "status, again": ("status",),
    "repro, nothing to do": ("repro",),
    "push": ("push",),
    "push, nothing to do": ("push",),
    "pull": ("pull",),
}
ROWS, ROW_BYTES = 20_000_000, 6144  # of the forecast: CLS and mean patch token of a picture, and its caption
SHARDS = (4096, 16384, 65536)


def dvc(folder: Path, *arguments: str) -> float:
    """Run DVC; its seconds."""
    started = time.perf_counter()
    environment = os.environ | {"DVC_NO_ANALYTICS": "1"}
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"dvc {' '.join(arguments)} failed: {done.stderr[-2000:]}")
    return time.perf_counter() - started


def measure(files: int, size: int) -> dict[str, Any]:
    """Seconds of every step on an output of so many files of so many bytes."""
    with tempfile.TemporaryDirectory(prefix="dvc-scale-") as name:
        folder = Path(name) / "project"
        (folder / "out").mkdir(parents=True)
        dvc(folder, "init", "--no-scm")
        dvc(folder, "remote", "add", "--default", "there", str(Path(name) / "remote"))
        (folder / "dvc.yaml").write_text("stages: {made: {cmd: echo, outs: [out]}}", encoding="utf-8")
        drawn = np.random.default_rng(0)
        for number in range(files):
            (folder / "out" / f"{number:06d}").write_bytes(drawn.bytes(size))
        seconds = {}
        for step, arguments in STEPS.items():
            if step == "pull":
                shutil.rmtree(folder / "out")
                shutil.rmtree(folder / ".dvc" / "cache")
            seconds[step] = round(dvc(folder, *arguments), 2)
            print(f"{files:>7} files of {size / 1e6:g} MB: {step:22} {seconds[step]:8.2f} s", flush=True)
    return {"files": files, "bytes": files * size, "seconds": seconds}


def forecast(cases: list[dict[str, Any]]) -> dict[str, Any]:
    """Costs by step from the smallest and the largest number of small files and the large file, and 20 M pairs."""
    small = sorted((case for case in cases if case["bytes"] == case["files"] * SMALL), key=lambda case: case["files"])
    large = max((case for case in cases if case["files"] == 1), key=lambda case: case["bytes"], default=None)
    if len(small) < 2 or large is None:
        return {}
    few, many = small[0], small[-1]
    out: dict[str, Any] = {}
    for step in STEPS:
        a_file = max(0.0, (many["seconds"][step] - few["seconds"][step]) / (many["files"] - few["files"]))
        fixed = max(0.0, few["seconds"][step] - few["files"] * a_file)
        a_byte = max(0.0, large["seconds"][step] - fixed) / large["bytes"]
        out[step] = {
            "milliseconds_a_file": round(1000 * a_file, 2),
            "megabytes_a_second": round(1e-6 / a_byte) if a_byte else None,
            "hours_at_20_M": {
                str(rows): round((fixed + files_of(rows) * a_file + ROWS * ROW_BYTES * a_byte) / 3600, 2)
                for rows in SHARDS
            },
        }
    return out


def files_of(shard_rows: int) -> int:
    """Files of the two stores of `ROWS` pairs: CLS, mean and validity of pictures, vector and validity of captions."""
    return 5 * -(-ROWS // shard_rows)


def main() -> None:
    """Measure what is not measured yet, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, nargs="+", default=[100, 1000, 3000])
    parser.add_argument("--megabytes", type=int, default=1000, help="of the large file")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    cases: list[dict[str, Any]] = []
    if given.out.is_file() and not given.again:
        cases = json.loads(given.out.read_text(encoding="utf-8"))["cases"]
    for files, size in [*((files, SMALL) for files in given.files), (1, given.megabytes * 1_000_000)]:
        if not any((case["files"], case["bytes"]) == (files, files * size) for case in cases):
            cases.append(measure(files, size) | {"load_average": round(os.getloadavg()[0], 1)})
            report = {"cores": os.cpu_count(), "cases": cases, "steps": forecast(cases)}
            given.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    for step, found in forecast(cases).items():
        print(step, found)


if __name__ == "__main__":
    main()
