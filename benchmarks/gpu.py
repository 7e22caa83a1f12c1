"""Everything that is measured on a GPU, in one call of at most eight minutes.

    python benchmarks/gpu.py [--only rates training ...] [--device cuda] [--out FILE] [--seconds 480]
    python benchmarks/gpu.py --device cpu --small         # toy sizes, writes nothing unless --out is given

Needs no network and no data set. Parts, each in a process of its own:

- rates: bfloat16 matrix products and device-to-device copies, the ceilings beside which the rest stands;
- training: Freeze-Align's modules on up to 20 M x (1024 + 1024) resident features, every kind of step;
- same: whether captured, compiled and eager steps end in the same weights;
- members: 8 configurations side by side against one;
- losses: InfoNCE and the sigmoid loss at large batches beside torch.compile, memeff and siglip-kernel;
- vit-s14, vit-l14, roberta-large: encoding in bfloat16 from files to a published store, against the bare forward pass.

A part prints as it goes and its figures are on the disk as soon as they are known: a part that fails or takes too long
costs only what it had not measured yet. The file, benchmarks/results/gpu.json, keeps parts that are not run again.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.on_gpu import encoding, losses, members, rates, same, training  # noqa: E402
from benchmarks.on_gpu.common import Recorded  # noqa: E402
from pipeline.accounting.machine import describe_machine  # noqa: E402

PARTS = {
    "rates": rates.measure,
    "training": training.measure,
    "same": same.measure,
    "members": members.measure,
    "losses": losses.measure,
    **{name: encoding.measure_of(name) for name in encoding.NAMES},
}


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS), help="parts, in this order")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/gpu.json")
    parser.add_argument("--seconds", type=float, default=480.0, help="of all parts together; what is left is left out")
    parser.add_argument("--longest", type=float, default=200.0, help="seconds of one part")
    parser.add_argument("--small", action="store_true", help="toy sizes")
    parser.add_argument("--part", nargs=2, metavar=("NAME", "FILE"), help=argparse.SUPPRESS)
    return parser.parse_args()


def one_part(name: str, given: argparse.Namespace, file: Path, seconds: float) -> dict[str, Any]:
    """Run a part in a process of its own; what it has measured, with `failed` beside it if it did not end well."""
    command = [sys.executable, str(Path(__file__)), "--device", given.device, "--part", name, str(file)]
    command += ["--small"] * given.small
    started = time.perf_counter()
    try:
        failed = subprocess.run(command, check=False, timeout=seconds).returncode
        reason = f"exit status {failed}" if failed else ""
    except subprocess.TimeoutExpired:
        reason = f"stopped after {seconds:.0f} seconds"
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    found["part_seconds"] = round(time.perf_counter() - started, 1)
    return found | {"failed": reason} if reason else found


def main() -> None:
    """Run the parts in turn, and write after each."""
    given = arguments()
    if given.part is not None:
        name, file = given.part
        recorded = Recorded(Path(file))
        PARTS[name](given.device, given.small, recorded)
        return
    out = given.out or (None if given.small else ROOT / "benchmarks" / "results" / "gpu.json")
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8")) if out is not None and out.is_file() else {}
    ends = time.monotonic() + given.seconds
    failures = []
    for name in given.only:
        left = ends - time.monotonic()
        if left < 5:
            print(f"== {name}: left out, no time", flush=True)
            continue
        print(f"== {name}", flush=True)
        file = Path(f"{out or 'gpu'}.{name}.{os.getpid()}.part")
        part = one_part(name, given, file, min(left, given.longest))
        file.unlink(missing_ok=True)
        part["machine"] = describe_machine()
        found[name] = part
        if "failed" in part:
            failures.append(name)
            print(f"== {name}: {part['failed']}", flush=True)
        if out is not None:
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if failures:
        raise SystemExit(f"failed: {', '.join(failures)}")


if __name__ == "__main__":
    main()
