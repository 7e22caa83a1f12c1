"""(a) The trainer on cached features against the same step on tensors that are already in memory."""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.stream import BATCH, BLOCK, PAIR_BYTES, WIDTH, noise_stores, resident, streamed
from benchmarks.training.common import CPU, Watch, gathered, spec, spread, updater
from pipeline.alignment.data.batches import AlignerFeatures
from pipeline.alignment.data.load import AlignmentData
from pipeline.alignment.training.schedule import learning_rate
from pipeline.alignment.training.trainer import train_repeat
from pipeline.config import TrainParams


def bound(data: AlignmentData, params: TrainParams) -> tuple[float, float]:
    """Pairs per second, and per second of processors, of the step alone, on batches gathered beforehand."""
    batches, step = gathered(data, params.batch_size), updater(data, spec(local_tokens="grid"), [params])
    watch = Watch()
    for number, batch in enumerate(batches):
        step(batch, [learning_rate(number, len(batches), params)], number, len(batches))
    wall, busy = watch.read()
    return len(data.train[0]) / wall, len(data.train[0]) / busy


def trained(data: AlignmentData, params: TrainParams) -> tuple[float, float]:
    """The same of an epoch of the trainer; the second with the making of the head and validation on 64 pairs."""
    watch = Watch()
    result = train_repeat(data, params, spec=spec(local_tokens="grid"), repeat=0, seed=0, on_epoch=lambda _: None)
    return result.history[0].samples_per_second, len(data.train[0]) / watch.read()[1]


def measure(small: bool) -> dict[str, Any]:
    """Rates of the three, in short turns whose order rotates, after one warm-up, and their ratios in the same turn."""
    rows, trained_rows, runs = (4_000, 2_000, 1) if small else (100_000, 5_120, 9)
    params = TrainParams(epochs=1, min_steps=0, batch_size=BATCH, device="cpu", checkpoint_seconds=0.0)
    with tempfile.TemporaryDirectory() as temporary:
        stores = noise_stores(Path(temporary), rows)
        pairs = torch.randperm(rows, generator=torch.Generator().manual_seed(0))[:trained_rows].sort().values
        pairs = pairs[:, None].repeat(1, 2)
        modes: dict[str, AlignerFeatures] = {
            "memory": resident(*stores, CPU, CPU),
            "stream": streamed(*stores, CPU, BLOCK, 64 * 10**6),
        }
        data = {name: AlignmentData(of, (pairs,), (pairs[:64],), {}, ("synthetic",)) for name, of in modes.items()}
        ways: dict[str, Callable[[], tuple[float, float]]] = {"step": lambda: bound(data["memory"], params)}
        ways |= {name: partial(trained, of, params) for name, of in data.items()}
        rates: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for turn in range(runs + 1):
            for name in sorted(ways, key=lambda name: (list(ways).index(name) + turn) % len(ways)):
                rate = ways[name]()
                if turn:
                    rates[name].append(rate)
    found: dict[str, Any] = {
        "pairs": trained_rows,
        "store_pairs": rows,
        "pair_bytes": PAIR_BYTES,
        "width": WIDTH,
        "batch_size": BATCH,
        "runs": runs,
    }
    for clock, what in enumerate(("second", "processor_second")):
        found[f"pairs_per_{what}"] = {name: spread([rate[clock] for rate in of]) for name, of in rates.items()}
        found[f"to_step_by_{what}"] = {
            name: spread([one[clock] / other[clock] for one, other in zip(rates[name], rates["step"], strict=True)])
            for name in modes
        }
    return found


def table(found: dict[str, Any]) -> list[str]:
    """Lines to print."""
    lines = [f"(a) {found['pairs']} pairs of {found['pair_bytes']} bytes, batches of {found['batch_size']}"]
    for what in ("second", "processor_second"):
        for name, rate in found[f"pairs_per_{what}"].items():
            ratio = found[f"to_step_by_{what}"].get(name)
            words = f"; {ratio['median']:.3f} ({ratio['low']:.3f} to {ratio['high']:.3f}) of the step" if ratio else ""
            lines.append(
                f"  pairs per {what.replace('_', ' '):17}{name:8}{rate['median']:9,.0f} ({rate['low']:,.0f} to "
                f"{rate['high']:,.0f}){words}"
            )
    return lines
