"""What each stage of the default DAG costs: seconds, peak memory and bytes written, from an empty cache.

    python benchmarks/dag_cost.py

Clones the last commit into a temporary folder, runs `dvc repro` there stage by stage with the Python it was started
with, prints a table and writes benchmarks/results/dag_cost.json. Needs the environment, and a network for the data.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "benchmarks" / "results" / "dag_cost.json"


@dataclass(frozen=True)
class Cost:
    """One stage: wall-clock seconds, peak resident memory of any of its processes, size of its outputs."""

    stage: str
    seconds: float
    peak_mb: float
    output_mb: float


def run(stage: str, folder: Path, environment: dict[str, str]) -> Cost:
    """Run one stage by itself."""
    started = time.perf_counter()
    process = subprocess.Popen(
        ["dvc", "repro", "--quiet", "--single-item", stage],
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    said = process.stderr.read().decode(errors="replace")
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{stage} failed:\n{said[-4000:]}")
    lock = yaml.safe_load((folder / "dvc.lock").read_text(encoding="utf-8"))["stages"][stage]
    written = sum(out.get("size", 0) for out in lock.get("outs", []))
    return Cost(stage, time.perf_counter() - started, usage.ru_maxrss / 1024, written / 1e6)


def stages(folder: Path, environment: dict[str, str]) -> list[str]:
    """All stages; the order of dvc.yaml is an order in which they can run."""
    listed = subprocess.run(
        ["dvc", "stage", "list", "--name-only"], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return listed.stdout.split()


def main() -> None:
    """Measure, print, write."""
    binaries = str(Path(sys.executable).parent)
    environment = {**os.environ, "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("PERMAFROST_WORK", None)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "clone"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
        (folder / "dvc.lock").unlink(missing_ok=True)
        costs = []
        for stage in stages(folder, environment):
            cost = run(stage, folder, environment)
            costs.append(cost)
            print(f"{cost.stage:28} {cost.seconds:8.1f} s {cost.peak_mb:8.0f} MB {cost.output_mb:9.1f} MB", flush=True)
        total = sum(cost.seconds for cost in costs)
        disk = int(
            subprocess.run(["du", "-sm", str(folder)], capture_output=True, text=True, check=True).stdout.split()[0]
        )
    print(
        f"{'all':28} {total:8.1f} s {max(c.peak_mb for c in costs):8.0f} MB {disk:9d} MB on disk, one copy of each file"
    )
    machine = {"cores": os.cpu_count(), "processor": platform.machine(), "python": platform.python_version()}
    OUT.parent.mkdir(parents=True, exist_ok=True)
    result = {"machine": machine, "stages": [asdict(c) for c in costs], "seconds": total, "disk_mb": disk}
    OUT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
