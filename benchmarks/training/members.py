"""(d) 8 configurations side by side in one pass over the features, against one alone."""

from typing import Any

from benchmarks.training.common import Watch, gathered, noise, spec, spread, updater
from pipeline.config import TrainParams

MEMBERS = 8
RATES = (3e-4, 1e-3, 3e-3, 5e-3)
SETTINGS = {"wide": (384, 1024, 3), "narrow": (64, 128, 40)}  # width, batch, batches


def seconds(width: int, batch_size: int, batches: int, members: int) -> tuple[float, float]:
    """Of so many steps of so many members: by the wall, and of processors."""
    data = noise(batch_size * batches, width)
    params = [
        TrainParams(batch_size=batch_size, lr=RATES[n % 4], dropout=0.1 * (1 + n % 3), device="cpu")
        for n in range(members)
    ]
    step, given = updater(data, spec(width), params), gathered(data, batch_size)
    step(given[0], [own.lr for own in params], 0, batches)
    watch = Watch()
    for number, batch in enumerate(given):
        step(batch, [own.lr for own in params], number, batches)
    return watch.read()


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
            "one_seconds": spread([one[0] for one, _ in turns]),
            "all_seconds": spread([every[0] for _, every in turns]),
            "ratio": spread([every[0] / one[0] for one, every in turns]),
            "processor_ratio": spread([every[1] / one[1] for one, every in turns]),
        }
    return found


def table(found: dict[str, Any]) -> list[str]:
    """Lines to print."""
    lines = [f"(d) {MEMBERS} members in one pass against one alone ({MEMBERS}: nothing is gained)"]
    for of in found.values():
        wall, busy = of["ratio"], of["processor_ratio"]
        lines.append(
            f"  width {of['width']:4}, batch {of['batch_size']:5}: {wall['median']:.2f} ({wall['low']:.2f} to "
            f"{wall['high']:.2f}) times the time, {busy['median']:.2f} ({busy['low']:.2f} to {busy['high']:.2f}) times "
            "the processor time"
        )
    return lines
