"""Encoding in bfloat16 from files to a published store, beside its bound and what one would write without this project.

Random weights at the sizes of ViT-S/14, ViT-L/14 and RoBERTa-large; JPEG photographs of 500 x 375 px and captions of 4
to 40 words, made on the spot. The bound is the slower of the bare forward pass, on batches that are on the device
already, and the decode on all cores. All sides run in one process, warm, in turn; rates are medians over rounds. The
plain loop takes a part of the rows, once, since it decodes on one core.
"""

import math
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.encode import Run, text_flops
from benchmarks.encode_work import Work, checkpoint_of, gpu_works, index_of
from benchmarks.on_gpu.common import Recorded, say

NAMES = ("vit-s14", "vit-l14", "roberta-large")
ROUNDS = 3
LOOP_ROWS = 512  # of the sides that decode on one core
TOLERANCE = 0.05  # of the largest value of a sample of features: what bfloat16 leaves


def measure_of(name: str) -> Callable[[str, bool, Recorded], None]:
    """The part that measures one encoder."""

    def measure(device_name: str, small: bool, recorded: Recorded) -> None:
        from pipeline.torchvision_fix import ensure_torchvision

        ensure_torchvision()
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            images, texts = (8, 32) if small else (4096, 16_384)
            started = time.perf_counter()
            (work,) = gpu_works(folder, images, texts, scale=12 if small else 1, only=name)
            index_of(folder, images if work.images else 64, images if work.images else texts)
            checkpoint_of(work, folder)
            say(f"data and checkpoint made in {time.perf_counter() - started:.0f} s")
            _measure(work, folder, device_name, small, recorded)

    return measure


def _once(function: Callable[[int], Any], rows: int, device: str) -> tuple[float, Any]:
    import torch

    def wait() -> None:
        if device.startswith("cuda"):
            torch.cuda.synchronize()

    wait()
    started = time.perf_counter()
    values = function(rows)
    wait()
    return rows / (time.perf_counter() - started), values


def _measure(work: Work, folder: Path, device: str, small: bool, recorded: Recorded) -> None:
    sides = ["decode"] if work.images else []
    sides += ["forward, whole", "ours", "transformers loop"] + ([] if work.images else ["sentence-transformers"])
    rates: dict[str, list[float]] = {}
    samples: dict[str, Any] = {}
    recorded.keep("rows", work.rows)
    recorded.keep("batch_size", work.batch_size)
    for side in sides:
        run = Run(work, folder, device)
        function = run.side(side)
        one_core = work.images and side == "transformers loop"
        rows = min(work.rows, LOOP_ROWS) if one_core else work.rows
        rows = max(1, rows // work.batch_size) * work.batch_size if side.startswith("forward") else rows
        function(min(rows, 2 * work.batch_size))
        for _ in range(1 if small or one_core else ROUNDS):
            rate, values = _once(function, rows, device)
            rates.setdefault(side, []).append(rate)
        if values is not None:
            samples[side] = np.asarray(values[: min(LOOP_ROWS, len(values)) : 64], dtype=np.float32)
        say(f"{side:24}{statistics.median(rates[side]):12,.1f} rows/s of {rows:,}")
        recorded.keep("rows_per_second", rates)
        del function, run
    _summary(work, folder, rates, samples, device, recorded)


def _summary(
    work: Work, folder: Path, rates: dict[str, list[float]], samples: dict[str, Any], device: str, recorded: Recorded
) -> None:
    apart = {
        side: float(np.abs(values - samples["ours"]).max() / np.abs(samples["ours"]).max())
        for side, values in samples.items()
    }
    recorded.keep("largest_difference_from_ours", apart)
    if max(apart.values()) > TOLERANCE:
        raise SystemExit(f"{work.name}: not the same features: {apart}")
    medians = {side: statistics.median(found) for side, found in rates.items()}
    bound = min(medians["forward, whole"], medians.get("decode", math.inf))
    recorded.keep("bound_rows_per_second", bound)
    recorded.keep("share_of_bound", medians["ours"] / bound)
    recorded.keep("share_of_bare_forward", medians["ours"] / medians["forward, whole"])
    flops = work.flops if work.images else text_flops(folder, work, folder / "index")
    recorded.keep("forward_flops_per_second", (flops or math.nan) * medians["forward, whole"])
    say(
        f"ours: {recorded['share_of_bound']:.3f} of the bound, {recorded['share_of_bare_forward']:.3f} of the bare "
        f"forward, which does {recorded['forward_flops_per_second'] / 1e12:.0f} TFLOP/s on {device}"
    )
