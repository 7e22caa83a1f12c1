"""(a) The trainer on cached features against the same step on tensors that are already in memory."""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.stream import BATCH, BLOCK, PAIR_BYTES, WIDTH, noise_stores, resident, streamed
from benchmarks.training.common import CPU, gathered, spec, spread, updates
from pipeline.alignment.batches import AlignerFeatures
from pipeline.alignment.data import AlignmentData
from pipeline.alignment.schedule import learning_rate
from pipeline.alignment.trainer import train_repeat
from pipeline.config.schema import TrainParams


def bound(data: AlignmentData, params: TrainParams) -> float:
    """Pairs per second of the step alone, on batches gathered before the clock starts."""
    batches, step = gathered(data, params.batch_size), updates(data, spec(local_tokens="grid"), [params])
    started = time.perf_counter()
    for number, batch in enumerate(batches):
        step(batch, [learning_rate(number, len(batches), params)], number, len(batches))
    return len(data.train[0]) / (time.perf_counter() - started)


def trained(data: AlignmentData, params: TrainParams) -> float:
    """Pairs per second of an epoch of the trainer, validation apart."""
    result = train_repeat(data, params, spec=spec(local_tokens="grid"), repeat=0, seed=0, on_epoch=lambda _: None)
    return result.history[0].samples_per_second


def measure(small: bool) -> dict[str, Any]:
    """Rates of the three, in short turns whose order rotates, after one warm-up, and their ratios in the same turn."""
    rows, trained_rows, runs = (4_000, 2_000, 1) if small else (200_000, 10_240, 11)
    params = TrainParams(epochs=1, batch_size=BATCH, device="cpu", checkpoint_seconds=0.0)
    with tempfile.TemporaryDirectory() as temporary:
        stores = noise_stores(Path(temporary), rows)
        pairs = torch.randperm(rows, generator=torch.Generator().manual_seed(0))[:trained_rows].sort().values
        pairs = pairs[:, None].repeat(1, 2)
        modes: dict[str, AlignerFeatures] = {
            "memory": resident(*stores, CPU, CPU),
            "stream": streamed(*stores, CPU, BLOCK, 64 * 10**6),
        }
        data = {name: AlignmentData(of, (pairs,), (pairs[:64],), {}, ("synthetic",)) for name, of in modes.items()}
        rates: dict[str, list[float]] = {"step": [], "memory": [], "stream": []}
        ways: dict[str, Callable[[], float]] = {"step": lambda: bound(data["memory"], params)}
        ways |= {name: partial(trained, of, params) for name, of in data.items()}
        for turn in range(runs + 1):
            for name in sorted(ways, key=lambda name: (list(ways).index(name) + turn) % len(ways)):
                rate = ways[name]()
                if turn:
                    rates[name].append(rate)
    ratios = {
        name: spread([a / b for a, b in zip(rates[name], rates["step"], strict=True)]) for name in ("memory", "stream")
    }
    return {
        "pairs": trained_rows,
        "store_pairs": rows,
        "pair_bytes": PAIR_BYTES,
        "width": WIDTH,
        "batch_size": BATCH,
        "runs": runs,
        "pairs_per_second": {name: spread(values) for name, values in rates.items()},
        "to_step": ratios,
    }


def table(found: dict[str, Any]) -> list[str]:
    """Lines to print."""
    lines = [f"(a) {found['pairs']} pairs of {found['pair_bytes']} bytes, batches of {found['batch_size']}, pairs/s"]
    for name, rate in found["pairs_per_second"].items():
        ratio = found["to_step"].get(name)
        words = f"; {ratio['median']:.3f} ({ratio['low']:.3f} to {ratio['high']:.3f}) of the step" if ratio else ""
        lines.append(f"  {name:8}{rate['median']:9,.0f} ({rate['low']:,.0f} to {rate['high']:,.0f}){words}")
    return lines
