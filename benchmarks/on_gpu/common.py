"""What the parts share: a clock that waits for the device, figures that are written as they come, features of noise."""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pipeline.alignment.data.inputs import ImageInput, TextInput
from pipeline.alignment.data.load import AlignmentData
from pipeline.alignment.data.resident import ResidentFeatures

FILLED = 1 << 18  # rows that are made at a time


class Recorded(dict[str, Any]):
    """Figures of a part by name; `keep` also writes all of them to a file."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file = file

    def keep(self, name: str, value: Any) -> None:
        """Add a figure, or replace it."""
        self[name] = value
        self._file.write_text(json.dumps(self), encoding="utf-8")


def wait(device: torch.device) -> None:
    """Until the device has nothing left to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def clock(device: torch.device) -> float:
    """The time once the device has nothing left to do."""
    wait(device)
    return time.perf_counter()


def seconds_of(function: Callable[[], Any], device: torch.device, runs: int, warm_up: int = 2) -> float:
    """Median of `runs` timed runs of a function, each between two waits for the device."""
    for _ in range(warm_up):
        function()
    taken = []
    for _ in range(runs):
        started = clock(device)
        function()
        taken.append(clock(device) - started)
    return statistics.median(taken)


def matmul_rate(device: torch.device, size: int) -> float:
    """Operations per second of bfloat16 matrix products of that size, on random numbers, back to back."""
    a, b = (torch.randn(size, size, device=device).bfloat16() for _ in range(2))
    times = 20
    for _ in range(3):
        a @ b
    started = clock(device)
    for _ in range(times):
        a @ b
    return 2 * size**3 * times / (clock(device) - started)


def noise_on(device: torch.device, rows: int, width: int, tokens: int) -> AlignmentData:
    """Pairs of equal rows of noise, float16, on the device: CLS, `tokens` local tokens, sentence embeddings."""

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
    return AlignmentData(held, (pairs,), (pairs[: min(rows, 1024)],), {}, ("synthetic",))


def say(line: str) -> None:
    """Print at once."""
    print(f"  {line}", flush=True)
