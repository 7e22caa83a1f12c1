"""How fast Freeze-Align's modules train on features that lie in the memory of the device.

The project's own trainer in bfloat16. Samples per second are the median over stretches of a tenth of the steps, the
first left out, validation apart. The share is that of the operations of a step, in matrix products counted by torch's
FlopCounterMode, in the rate at which the device multiplies large matrices, measured in the same process.
"""

import time
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.on_gpu.common import Recorded, clock, matmul_rate, noise_on, say, seconds_of
from benchmarks.training.common import spec as head_of
from benchmarks.training.common import spread, updater
from pipeline.alignment.data.load import AlignmentData
from pipeline.alignment.data.memory import free_device_memory
from pipeline.alignment.heads import parameter_count
from pipeline.alignment.training.trainer import train_repeat
from pipeline.config import LocalTokens, TrainedHead, TrainParams
from pipeline.errors import PermafrostError

ROWS, WIDTH, BATCH = 20_000_000, 1024, 16_384
SHARE = 0.8  # of the free memory for features; the rest is for the step
WHOLE = 1 << 20  # rows of a block: none
INPUTS: dict[str, tuple[LocalTokens, int]] = {"cls": ("none", 0), "cls + mean": ("mean", 1), "grid of 16": ("grid", 16)}
CASES = {  # of each input: kind of step, batch, rows of a block of the loss
    "cls": [
        ("eager", BATCH, WHOLE),
        ("eager", BATCH, 2048),
        ("captured", BATCH, WHOLE),
        ("captured", BATCH, 2048),
        ("captured", 2 * BATCH, 2048),
        ("captured", 4 * BATCH, 2048),
        ("compiled", BATCH, WHOLE),
    ],
    "cls + mean": [("captured", BATCH, 2048), ("compiled", BATCH, WHOLE)],
    "grid of 16": [("captured", BATCH, 2048)],
}


def _first(data: AlignmentData, count: int) -> AlignmentData:
    """The same with so many of its pairs, from all over the features."""
    pairs = data.train[0]
    chosen = pairs[torch.randperm(len(pairs), device=pairs.device)[:count]]
    return AlignmentData(data.features, (chosen,), data.validation, {}, data.datasets)


def _operations(data: AlignmentData, spec: TrainedHead, params: TrainParams) -> int:
    """Of a step, in matrix products, counted as it runs."""
    step = updater(data, spec, [params.model_copy(update={"step": "eager"})])
    pairs = data.train[0][: params.batch_size]
    batch = next(iter(data.features.epoch(pairs, params.batch_size, torch.Generator().manual_seed(0), 1)))
    with FlopCounterMode(display=False) as counted:
        step(batch, [params.lr], 0, 1)
    torch.compiler.reset()  # what runs under the counter is never compiled again: later cases would lose fused blocks
    return int(counted.get_total_flops())


def _case(data: AlignmentData, spec: TrainedHead, params: TrainParams, device: torch.device) -> dict[str, Any]:
    started = clock(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        held = torch.cuda.memory_allocated(device)
    try:
        result = train_repeat(data, params, spec=spec, repeat=0, seed=0, on_epoch=lambda _: None)
    except PermafrostError as error:
        return {"refused": str(error)}
    speeds = [record.samples_per_second for record in result.history]
    found: dict[str, Any] = {
        "samples_per_second": spread(speeds[1:] or speeds),
        "pairs": len(data.train[0]),
        "whole_seconds": clock(device) - started,
    }
    if device.type == "cuda":
        found["peak_bytes_of_a_step"] = torch.cuda.max_memory_allocated(device) - held
    return found


def _where_time_goes(data: AlignmentData, spec: TrainedHead, params: TrainParams) -> dict[str, float]:
    """Seconds per batch of what a step consists of, each measured apart, run eagerly."""
    device = data.features.device
    step, size = updater(data, spec, [params]), params.batch_size
    pairs = data.train[0]
    rows = torch.randperm(len(pairs), device=device)[:size]
    batch = next(iter(data.features.epoch(pairs[:size], size, torch.Generator().manual_seed(0), 1)))
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
        "gathering": seconds_of(
            lambda: (data.features.images.read(pairs[rows, 0]), data.features.texts.read(pairs[rows, 1])), device, 10
        ),
        "projectors_forward_and_backward": seconds_of(projectors, device, 10),
        "whole_step": seconds_of(lambda: step(batch, [params.lr], 0, 1), device, 10),
    }


def _epochs(data: AlignmentData, spec: TrainedHead, params: TrainParams, validate_every: int) -> dict[str, Any]:
    """Two epochs of all pairs in the fastest kind of step: compiling, orders, validations and all else included."""
    device = data.features.device
    kind = "compiled" if device.type == "cuda" else "eager"
    whole = params.model_copy(update={"step": kind, "validate_every": max(1, validate_every), "epochs": 2})
    started = clock(device)
    ends: list[float] = []

    def note(_record: Any) -> None:
        ends.append(clock(device) - started)

    train_repeat(data, whole, spec=spec, repeat=0, seed=0, on_epoch=note)
    pairs, half = len(data.train[0]), len(ends) // 2
    second = ends[-1] - ends[half - 1]
    say(
        f"two whole epochs of {pairs:,} pairs, {kind}: {ends[-1]:.1f} s, the second {second:.1f} s, "
        f"{pairs / second:,.0f} samples/s with all that is around a step"
    )
    return {"pairs": pairs, "kind": kind, "seconds": ends[-1], "second_epoch_seconds": second, "record_seconds": ends}


def measure(device_name: str, small: bool, recorded: Recorded) -> None:
    """Every input at the rows that fit, every case, and one whole epoch."""
    device = torch.device(device_name)
    rows, width, batch, steps = (512, 32, 64, 20) if small else (ROWS, WIDTH, BATCH, 100)
    rate = matmul_rate(device, 128 if small else 8192)
    recorded.keep("matmul_flops", rate)
    for name, (local_tokens, tokens) in INPUTS.items():
        row_bytes = 2 * width * (2 + tokens)
        fits = rows if small else min(rows, int(SHARE * free_device_memory(device)) // row_bytes)
        data = noise_on(device, fits, width, tokens)
        found: dict[str, Any] = {"rows": fits, "gigabytes": fits * row_bytes / 1e9, "cases": {}}
        say(f"{name}: {fits:,} pairs, {found['gigabytes']:.1f} GB")
        for kind, case_batch, block in CASES[name]:
            if small:
                case_batch, block, kind = batch, min(block, 16), "eager" if device.type != "cuda" else kind
            spec = head_of(width, local_tokens, positives="own", chunk_rows=block)
            params = TrainParams(
                epochs=1,
                min_steps=0,
                batch_size=case_batch,
                precision="bfloat16",
                step=kind,
                validate_every=max(1, steps // 10),
                checkpoint_seconds=0.0,
            )
            done = _case(_first(data, min(fits, case_batch * steps)), spec, params, device)
            label = f"{kind}, {case_batch}, " + ("whole" if block >= case_batch else f"blocks of {block}")
            if "refused" not in done:
                done["flops_per_sample"] = _operations(data, spec, params) / case_batch
                speed = done["samples_per_second"]
                done["share_of_matmul_rate"] = speed["median"] * done["flops_per_sample"] / rate
                say(
                    f"{label:36}{speed['median']:12,.0f} samples/s ({speed['low']:,.0f} to {speed['high']:,.0f}), "
                    f"{done['share_of_matmul_rate']:.3f} of the matmul rate"
                )
            else:
                say(f"{label:36}{done['refused']}")
            found["cases"][label] = done
            recorded.keep(name, found)
        spec = head_of(width, local_tokens, positives="own", chunk_rows=WHOLE)
        params = TrainParams(epochs=1, min_steps=0, batch_size=batch, precision="bfloat16", checkpoint_seconds=0.0)
        found["parameters"] = parameter_count(updater(data, spec, [params]).heads[0])
        found["seconds_per_batch"] = _where_time_goes(data, spec, params)
        parts = ", ".join(f"{part.replace('_', ' ')} {1e3 * s:.2f}" for part, s in found["seconds_per_batch"].items())
        say(f"ms a batch, eager: {parts}")
        if name == "cls":
            found["epochs"] = _epochs(data, spec, params, fits // batch // 10)
        recorded.keep(name, found)
        del data
        if device.type == "cuda":
            torch.cuda.empty_cache()
