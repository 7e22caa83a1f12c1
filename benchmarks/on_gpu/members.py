"""8 configurations side by side in one pass over the features, against one alone."""

import torch

from benchmarks.on_gpu.common import Recorded, noise_on, say, seconds_of
from benchmarks.training.common import spec as head_of
from benchmarks.training.common import updater
from pipeline.alignment.data.load import AlignmentData
from pipeline.config import TrainParams

MEMBERS = 8
RATES = (3e-4, 1e-3, 3e-3, 5e-3)
SETTINGS = {"narrow": (64, 1024), "default": (384, 1024), "wide": (1024, 4096), "paper": (1024, 16_384)}  # width, batch

KINDS = {"narrow": ("captured",), "default": ("captured", "compiled"), "wide": ("captured",)}  # beside eager


def _seconds(data: AlignmentData, width: int, batch_size: int, members: int, kind: str) -> float:
    """Of a step of so many members."""
    params = [
        TrainParams(
            batch_size=batch_size,
            lr=RATES[n % 4],
            dropout=0.1 * (1 + n % 3),
            precision="bfloat16",
            step=kind,  # type: ignore[arg-type]
        )
        for n in range(members)
    ]
    step = updater(data, head_of(width), params)
    batch = next(iter(data.features.epoch(data.train[0], batch_size, torch.Generator().manual_seed(0), 1)))
    lrs = [own.lr for own in params]
    return seconds_of(lambda: step(batch, lrs, 0, 100), batch.image_ids.device, 20, 3)


def measure(device_name: str, small: bool, recorded: Recorded) -> None:
    """Every setting, in the kinds of step that pay there."""
    device = torch.device(device_name)
    settings = {"narrow": (16, 64)} if small else SETTINGS
    for name, (width, batch_size) in settings.items():
        data = noise_on(device, batch_size, width, 1)
        found = {"width": width, "batch_size": batch_size, "members": MEMBERS, "steps": {}}
        for kind in ("eager", *KINDS.get(name, ())) if device.type == "cuda" else ("eager",):
            one, every = (_seconds(data, width, batch_size, members, kind) for members in (1, MEMBERS))
            found["steps"][kind] = {"one_seconds": one, "all_seconds": every, "ratio": every / one}  # type: ignore[index]
            say(
                f"width {width}, batch {batch_size}, {kind}: one {1e3 * one:.2f} ms, {MEMBERS} {1e3 * every:.2f} ms, "
                f"{every / one:.2f} times"
            )
            recorded.keep(name, found)
