"""How fast a GPU trains Freeze-Align's modules on cached features that lie in its memory: one call, one table.

    python benchmarks/train_gpu.py [--rows 20000000] [--batch 16384] [--steps 400] [--device cuda]

Features of noise, 1024 + 1024 wide in float16, are made on the device: as many of the rows asked for as leave room to
train. The project's own trainer runs in bfloat16, each kind of step in turn, for the CLS token alone, for CLS and mean,
and for CLS and a grid of 16 region means, each at the number of rows that fits. Samples per second are the median over
stretches of a tenth of the steps, the first left out, validation apart. Beside them stand the operations of a step
(counted by torch's FlopCounterMode) as a share of the rate at which the device multiplies large bfloat16 matrices,
measured in the same run, and where the time goes: a step without the loss's matrix, the order of the epoch, gathering.

Writes benchmarks/results/train_gpu.json. With `--small`, toy sizes on any device, and nothing is written.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.training.common import spec as head_of  # noqa: E402
from benchmarks.training.common import spread, updater  # noqa: E402
from pipeline.accounting.machine import describe_machine  # noqa: E402
from pipeline.alignment.data.inputs import ImageInput, TextInput  # noqa: E402
from pipeline.alignment.data.load import AlignmentData  # noqa: E402
from pipeline.alignment.data.memory import free_device_memory  # noqa: E402
from pipeline.alignment.data.resident import ResidentFeatures  # noqa: E402
from pipeline.alignment.heads import parameter_count  # noqa: E402
from pipeline.alignment.training.trainer import train_repeat  # noqa: E402
from pipeline.config import LocalTokens, TrainedHead, TrainParams  # noqa: E402
from pipeline.errors import PermafrostError  # noqa: E402

OUT = ROOT / "benchmarks" / "results" / "train_gpu.json"
INPUTS: dict[str, tuple[LocalTokens, int]] = {
    "cls": ("none", 0),
    "cls + mean": ("mean", 1),
    "cls + grid of 16": ("grid", 16),
}
SHARE = 0.8  # of the free memory for features; the rest is for the step
FILLED = 1 << 18  # rows that are made at a time


def finished(device: torch.device) -> float:
    """The time once the device has nothing left to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def timed(function: Callable[[], Any], device: torch.device, runs: int) -> float:
    """Seconds of one run, the mean of `runs` after two to warm up."""
    for _ in range(2):
        function()
    started = finished(device)
    for _ in range(runs):
        function()
    return (finished(device) - started) / runs


def matmul_rate(device: torch.device, size: int) -> float:
    """Operations per second of bfloat16 matrix products of that size."""
    a, b = (torch.randn(size, size, device=device).bfloat16() for _ in range(2))
    return 2 * size**3 / timed(lambda: a @ b, device, 20)


def features(rows: int, width: int, tokens: int, device: torch.device) -> AlignmentData:
    """Noise on the device, and pairs of equal rows."""

    def normal(*shape: int) -> torch.Tensor:
        made = torch.empty(shape, dtype=torch.float16, device=device)
        for start in range(0, shape[0], FILLED):
            made[start : start + FILLED].normal_()
        return made

    held = ResidentFeatures(
        ImageInput(normal(rows, width), normal(rows, tokens, width)),
        TextInput.from_pooled(normal(rows, width)),
        torch.empty(0, device=device).device,
    )
    pairs = torch.arange(rows, device=device)[:, None].repeat(1, 2)
    return AlignmentData(held, (pairs,), (pairs[:1024],), {}, ("synthetic",))


def operations(data: AlignmentData, spec: TrainedHead, params: TrainParams) -> int:
    """Of a step, in matrix products, counted as it runs."""
    step = updater(data, spec, [params.model_copy(update={"step": "eager"})])
    batch = next(iter(data.features.epoch(data.train[0], params.batch_size, torch.Generator().manual_seed(0), 1)))
    with FlopCounterMode(display=False) as counted:
        step(batch, [params.lr], 0, 1)
    return int(counted.get_total_flops())


def rates(data: AlignmentData, spec: TrainedHead, params: TrainParams) -> dict[str, Any]:
    """Samples per second of each kind of step in the trainer; or why there are none."""
    found: dict[str, Any] = {}
    for kind in ("eager", "compiled", "captured"):
        own = params.model_copy(update={"step": kind})
        try:
            result = train_repeat(data, own, spec=spec, repeat=0, seed=0, on_epoch=lambda _: None)
        except PermafrostError as error:
            found[kind] = {"refused": str(error)}
            continue
        found[kind] = spread([record.samples_per_second for record in result.history[1:]])
    return found


def where_time_goes(data: AlignmentData, spec: TrainedHead, params: TrainParams) -> dict[str, float]:
    """Seconds per batch of what a step consists of, each measured apart."""
    device = data.features.device
    step, size = updater(data, spec, [params]), params.batch_size
    pairs = data.train[0]
    rows = torch.randperm(len(pairs), device=device)[:size]
    batch = next(iter(data.features.epoch(pairs, size, torch.Generator().manual_seed(0), 1)))
    head = step.heads[0]

    def projectors() -> None:
        with torch.autocast(device.type, torch.bfloat16):
            summed = head.image_features(batch.images).sum() + head.text_features(batch.texts).sum()
        summed.backward()

    started = time.perf_counter()
    torch.randperm(len(pairs))
    order = (time.perf_counter() - started) * size / len(pairs)
    return {
        "order_of_the_epoch": order,
        "gathering": timed(
            lambda: (data.features.images.read(pairs[rows, 0]), data.features.texts.read(pairs[rows, 1])), device, 10
        ),
        "projectors_forward_and_backward": timed(projectors, device, 10),
        "whole_step_eager": timed(lambda: step(batch, [params.lr], 0, 1), device, 10),
    }


def main() -> None:
    """Measure every input, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--batch", type=int, default=16_384)
    parser.add_argument("--steps", type=int, default=400, help="at most so many for each kind of step")
    parser.add_argument("--small", action="store_true", help="toy sizes; writes nothing")
    given = parser.parse_args()
    device = torch.device(given.device)
    width, size = (32, 128) if given.small else (1024, 8192)
    rows, batch, steps = (512, 64, 20) if given.small else (given.rows, given.batch, given.steps)
    rate = matmul_rate(device, size)
    print(f"bfloat16 matrix products of {size}: {rate / 1e12:.1f} TFLOP/s")
    found: dict[str, Any] = {"machine": describe_machine(), "device": str(device), "matmul_flops": rate, "inputs": {}}
    for name, (local_tokens, tokens) in INPUTS.items():
        row_bytes = 2 * width * (2 + tokens)
        fits = rows if given.small else min(rows, int(SHARE * free_device_memory(device)) // row_bytes)
        data = features(fits, width, tokens, device)
        spec = head_of(width, local_tokens, positives="own")
        params = TrainParams(
            epochs=1,
            min_steps=0,
            batch_size=batch,
            precision="bfloat16",
            validate_every=max(1, steps // 10),
            checkpoint_seconds=0.0,
        )
        trained = data.train[0][torch.randperm(fits, device=device)[: batch * steps]]  # from all over the features
        data = AlignmentData(data.features, (trained,), data.validation, {}, data.datasets)
        done: dict[str, Any] = {"rows": fits, "gigabytes": fits * row_bytes / 1e9, "batch_size": batch}
        done["steps"] = -(-len(trained) // batch)
        done["samples_per_second"] = rates(data, spec, params)
        done["flops_per_sample"] = operations(data, spec, params) / batch
        done["parameters"] = parameter_count(updater(data, spec, [params]).heads[0])
        done["seconds_per_batch"] = where_time_goes(data, spec, params)
        found["inputs"][name] = done
        report(name, done, rate)
        del data
        if device.type == "cuda":
            torch.cuda.empty_cache()
    if not given.small:
        OUT.parent.mkdir(parents=True, exist_ok=True)
        OUT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def report(name: str, done: dict[str, Any], rate: float) -> None:
    """Print what was found for one kind of input."""
    print(f"{name}: {done['rows']:,} pairs, {done['gigabytes']:.1f} GB, {done['parameters']:,} parameters")
    for kind, speed in done["samples_per_second"].items():
        if "refused" in speed:
            print(f"  {kind:9} {speed['refused']}")
            continue
        share = speed["median"] * done["flops_per_sample"] / rate
        print(
            f"  {kind:9} {speed['median']:12,.0f} samples/s ({speed['low']:,.0f} to {speed['high']:,.0f}); "
            f"{done['flops_per_sample'] / 1e6:.1f} MFLOP a sample, {share:.2f} of the rate of matrix products"
        )
    parts = ", ".join(f"{part.replace('_', ' ')} {1e3 * took:.2f}" for part, took in done["seconds_per_batch"].items())
    print(f"  ms a batch: {parts}")


if __name__ == "__main__":
    main()
