"""Training steps by one and by two processes of one thread each, as torchrun starts them, connected by gloo.

    python benchmarks/torchrun.py [--turns 3] [--steps 3] [--batch 4096] [--width 1024] [--small]

Freeze-Align's head between features of the width of the paper's encoders, InfoNCE in blocks, the whole step: own rows
read from memory, head, loss, gradients, sums over the processes, AdamW. Turns alternate between one process and two; a
step before the clock starts is left out. About two and a half minutes on two idle cores; figures go to
benchmarks/results/torchrun.json. NCCL and several GPUs are not measured by it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path[:] = [str(ROOT), *sys.path[1:]]  # this folder has a file of the name of every stage

from benchmarks.training.common import CPU, spread  # noqa: E402
from pipeline.accounting.machine import describe_machine  # noqa: E402
from pipeline.alignment.data.inputs import ImageInput, TextInput  # noqa: E402
from pipeline.alignment.data.load import AlignmentData  # noqa: E402
from pipeline.alignment.data.resident import ResidentFeatures  # noqa: E402
from pipeline.alignment.heads.base import parameter_count  # noqa: E402
from pipeline.alignment.losses.objective import Objective  # noqa: E402
from pipeline.alignment.processes import Processes, joined  # noqa: E402
from pipeline.alignment.training.initial_head import initial_head  # noqa: E402
from pipeline.alignment.training.members import Member  # noqa: E402
from pipeline.alignment.training.update import LOSS, Updater  # noqa: E402
from pipeline.config import FreezeAlignHead, InfoNCELoss, TrainParams  # noqa: E402
from pipeline.launched import launched  # noqa: E402

OUT = ROOT / "benchmarks" / "results" / "torchrun.json"
COUNTS = (1, 2)


def pairs_of_noise(pairs: int, width: int, processes: Processes) -> AlignmentData:
    """Float16 features of CLS tokens and sentence embeddings in memory."""
    draw = torch.Generator().manual_seed(0)
    image, text = (torch.randn(pairs, width, generator=draw).half() for _ in range(2))
    features = ResidentFeatures(ImageInput(image, image[:, None][:, :0]), TextInput.from_pooled(text), CPU, processes)
    rows = torch.arange(pairs)[:, None].repeat(1, 2)
    return AlignmentData(features, (rows,), (rows[:64],), {}, ("synthetic",), processes=processes)


def measured(batch: int, width: int, steps: int, processes: Processes) -> dict[str, Any]:
    """Seconds of each step, and the loss of the last."""
    params = TrainParams(batch_size=batch, device="cpu")
    data = pairs_of_noise(batch * (steps + 1), width, processes)
    spec = FreezeAlignHead(kind="freeze-align", embed_dim=width, local_tokens="none", loss=InfoNCELoss())
    torch.manual_seed(0)
    head = initial_head(spec, data, params, 0)
    updater = Updater([head], [Member("", 0, params)], Objective(spec.loss, processes=processes), processes)
    updater.train()
    seconds, loss = [], 0.0
    started = time.perf_counter()
    for number, own in enumerate(data.features.epoch(data.train[0], batch, torch.Generator().manual_seed(0), 1)):
        loss = float(updater(own, [1e-4], number, steps + 1).parts[LOSS])
        seconds.append(time.perf_counter() - started)
        started = time.perf_counter()
    return {"seconds": seconds[1:], "loss": loss, "parameters": parameter_count(head)}


def child(given: argparse.Namespace) -> None:
    """One of the processes; the first writes what it measured."""
    torch.set_num_threads(1)
    with joined(launched(), CPU) as processes:
        found = measured(given.batch, given.width, given.steps, processes)
        if processes.first:
            Path(given.child).write_text(json.dumps(found), encoding="utf-8")


def turn(count: int, given: argparse.Namespace) -> dict[str, Any]:
    """What so many processes measure."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "found.json"
        sizes = ["--batch", str(given.batch), "--width", str(given.width), "--steps", str(given.steps)]
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
        command = [sys.executable, *launcher, str(Path(__file__).resolve()), "--child", str(out), *sizes]
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return found


def figures(turns: dict[int, list[dict[str, Any]]], given: argparse.Namespace) -> dict[str, Any]:
    """Samples a second by number of processes, and their ratio within each turn."""
    speeds = {count: [given.batch / min(one["seconds"]) for one in found] for count, found in turns.items()}
    every = {count: [given.batch / s for one in found for s in one["seconds"]] for count, found in turns.items()}
    ratios = [two / one for one, two in zip(*(speeds[count] for count in COUNTS), strict=True)]
    losses = [turns[count][0]["loss"] for count in COUNTS]
    weights = turns[1][0]["parameters"]
    return {
        "batch_size": given.batch,
        "width": given.width,
        "steps": given.steps,
        "turns": len(turns[1]),
        "parameters": weights,
        "samples_per_second": {str(count): spread(every[count]) for count in COUNTS},
        "two_against_one": spread(ratios),
        "relative_difference_of_losses": abs(losses[1] / losses[0] - 1),
        "megabytes_summed_per_step": {"gradients": 4 * weights / 1e6, "texts": 4 * given.batch * given.width / 1e6},
        "backend": "gloo over loopback, one thread a process",
        "not_measured": "NCCL, several GPUs, several machines",
    }


def main() -> None:
    """Measure, print and write; or be one of the processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--small", action="store_true", help="a quick check of the script; writes nothing")
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given)
        return
    if given.small:
        given.turns, given.steps, given.batch, given.width = 1, 2, 64, 32
    load = os.getloadavg()[0]
    turns: dict[int, list[dict[str, Any]]] = {count: [] for count in COUNTS}
    for _ in range(given.turns):
        for count in COUNTS:
            turns[count].append(turn(count, given))
        found = {"machine": describe_machine(), "load_average": [load, os.getloadavg()[0]], **figures(turns, given)}
        print(json.dumps(found, indent=1), flush=True)
        if not given.small:  # after each turn, so that what is known stays
            OUT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
