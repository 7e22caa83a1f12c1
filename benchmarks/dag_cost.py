"""What the default DAG costs from an empty cache: wall-clock seconds in all, and per stage time, memory and bytes.

    python benchmarks/dag_cost.py

Clones the last commit into a temporary folder, runs `dvc repro` there with the Python it was started with, prints a
table and writes benchmarks/results/dag_cost.json. The figures per stage are those of the stage `accounting`, which puts
the stages that encode into one group; what they lack of the whole is DVC's own work, and `settings`, `listing`,
`accounting` and `report`. Needs the environment, and a network for the data.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "benchmarks" / "results" / "dag_cost.json"


def by_group(stages: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Sums of seconds and bytes, and the largest peak, over the items of each stage of dvc.yaml."""
    groups: dict[str, dict[str, float]] = defaultdict(
        lambda: {"items": 0, "seconds": 0.0, "peak_bytes": 0, "output_bytes": 0}
    )
    for stage in stages:
        group = groups[stage["group"]]
        group["items"] += 1
        group["seconds"] += stage["seconds"] or 0.0
        group["peak_bytes"] = max(group["peak_bytes"], stage["peak_bytes"] or 0)
        group["output_bytes"] += stage["output_bytes"] or 0
    return dict(groups)


def main() -> None:
    """Measure, print, write."""
    binaries = str(Path(sys.executable).parent)
    environment = {**os.environ, "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("PERMAFROST_WORK", None)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "clone"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
        (folder / "dvc.lock").unlink(missing_ok=True)
        started = time.perf_counter()
        subprocess.run(["dvc", "repro"], cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - started
        costs = json.loads((folder / "data" / "accounting" / "costs.json").read_text(encoding="utf-8"))
        listed = subprocess.run(["du", "-sm", str(folder)], capture_output=True, text=True, check=True)
        disk = int(listed.stdout.split()[0])
    groups = by_group(costs["stages"])
    for name, group in groups.items():
        print(
            f"{name:12} {group['items']:3.0f} x {group['seconds']:8.1f} s {group['peak_bytes'] / 1e6:8.0f} MB peak "
            f"{group['output_bytes'] / 1e6:9.1f} MB written"
        )
    print(f"{'dvc repro':12} {seconds:14.1f} s, {disk} MB on disk, one copy of each file")
    OUT.parent.mkdir(parents=True, exist_ok=True)
    result = {
        "machine": costs["machine"],
        "seconds": round(seconds, 1),
        "disk_mb": disk,
        "groups": groups,
        "stages": costs["stages"],
    }
    OUT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
