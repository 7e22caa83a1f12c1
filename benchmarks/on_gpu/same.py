"""Whether captured and compiled steps give the weights of eager ones: differences as a share of what training moved.

Dropout is off, since a graph draws other random numbers. `eager again` shows what the device's own order of sums gives.
"""

import torch

from benchmarks.on_gpu.common import Recorded, noise_on, say
from benchmarks.training.common import spec as head_of
from benchmarks.training.common import updater
from pipeline.alignment.data.load import AlignmentData
from pipeline.config import TrainParams

STEPS = 50


def _weights(data: AlignmentData, kind: str, precision: str, batch_size: int, steps: int) -> torch.Tensor:
    spec = head_of(data.features.images.width, "mean", positives="pairs")
    params = TrainParams(batch_size=batch_size, dropout=0.0, step=kind, precision=precision, lr=1e-3)  # type: ignore[arg-type]
    step = updater(data, spec, [params])
    if steps:
        generator = torch.Generator().manual_seed(0)
        for number in range(steps):
            batch = next(iter(data.features.epoch(data.train[0][:batch_size], batch_size, generator, 1)))
            step(batch, [params.lr], number, steps)
    return torch.cat([weight.detach().double().flatten().cpu() for weight in step.heads[0].parameters()])


def measure(device_name: str, small: bool, recorded: Recorded) -> None:
    """In float32 and bfloat16."""
    device = torch.device(device_name)
    rows, width, steps = (128, 16, 3) if small else (2048, 384, STEPS)
    torch.manual_seed(0)
    data = noise_on(device, rows, width, 1)
    kinds = ["eager again", "compiled", "captured"] if device.type == "cuda" else ["eager again"]
    for precision in ("float32", "bfloat16"):
        start = _weights(data, "eager", precision, rows, 0)
        eager = _weights(data, "eager", precision, rows, steps)
        moved = (eager - start).norm()
        found = {}
        for kind in kinds:
            other = _weights(data, kind.split()[0], precision, rows, steps)
            found[kind] = float((other - eager).norm() / moved)
        recorded.keep(precision, {"steps": steps, "difference_over_what_training_moved": found})
        say(f"{precision}, {steps} steps: " + ", ".join(f"{kind} {value:.2e}" for kind, value in found.items()))
