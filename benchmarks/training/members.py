"""(d) 8 configurations side by side in one pass over the features, against one alone."""

import time
from typing import Any

from benchmarks.training.common import gathered, noise, spec, spread, updates
from pipeline.config.schema import TrainParams

MEMBERS = 8
RATES = (3e-4, 1e-3, 3e-3, 5e-3)
SETTINGS = {"wide": (384, 1024, 6), "narrow": (64, 128, 60)}  # width, batch, batches


def seconds(width: int, batch_size: int, batches: int, members: int) -> float:
    """Of so many steps of so many members."""
    data = noise(batch_size * batches, width)
    params = [
        TrainParams(batch_size=batch_size, lr=RATES[n % 4], dropout=0.1 * (1 + n % 3), device="cpu")
        for n in range(members)
    ]
    step, given = updates(data, spec(width), params), gathered(data, batch_size)
    step(given[0], [own.lr for own in params], 0, batches)
    started = time.perf_counter()
    for number, batch in enumerate(given):
        step(batch, [own.lr for own in params], number, batches)
    return time.perf_counter() - started


def measure(small: bool) -> dict[str, Any]:
    """One and 8 by turns; the ratio in each turn."""
    found = {}
    for name, (width, batch_size, batches) in SETTINGS.items():
        turns = [
            [seconds(width, batch_size, 2 if small else batches, members) for members in (1, MEMBERS)]
            for _ in range(1 if small else 3)
        ]
        found[name] = {
            "width": width,
            "batch_size": batch_size,
            "members": MEMBERS,
            "one_seconds": spread([turn[0] for turn in turns]),
            "all_seconds": spread([turn[1] for turn in turns]),
            "ratio": spread([turn[1] / turn[0] for turn in turns]),
        }
    return found


def table(found: dict[str, Any]) -> list[str]:
    """Lines to print."""
    return [f"(d) {MEMBERS} members in one pass against one alone ({MEMBERS}: nothing is gained)"] + [
        f"  width {of['width']:4}, batch {of['batch_size']:5}: {of['ratio']['median']:.2f} "
        f"({of['ratio']['low']:.2f} to {of['ratio']['high']:.2f}) times"
        for of in found.values()
    ]
