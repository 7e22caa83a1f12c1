"""Metrics of the steps since the last record, kept on the device until they are read."""

import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pipeline.alignment.training.records import StepMetrics


class MetricWindow:
    """Collects the metrics of steps.

    Attributes:
        pairs: how many the steps have seen.
    """

    def __init__(self) -> None:
        self.pairs = 0
        self._parts: dict[str, list[Tensor]] = {}  # per part of the loss, per step: its sum over the batch, (M,)
        self._norms: list[Tensor] = []  # per step, (M,)
        self._seconds, self._started = 0.0, time.perf_counter()  # seconds: in earlier, interrupted runs

    def add(self, metrics: StepMetrics, pairs: int) -> None:
        """Add a step on so many pairs."""
        for name, part in metrics.parts.items():
            self._parts.setdefault(name, []).append(part * pairs)
        self._norms.append(metrics.norms)
        self.pairs += pairs

    def means(self) -> dict[str, list[float]]:
        """Parts of the loss as means over pairs, for each member."""
        return {name: (torch.stack(sums).sum(dim=0) / self.pairs).tolist() for name, sums in self._parts.items()}

    def mean_norms(self) -> list[float]:
        """Norms of the gradient as means over steps, for each member."""
        return torch.stack(self._norms).mean(dim=0).tolist()

    def elapsed(self) -> float:
        """Seconds since the window began."""
        return self._seconds + time.perf_counter() - self._started

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` takes, with the metrics as (steps, M) tensors."""
        return {
            "parts": {name: torch.stack(sums) for name, sums in self._parts.items()},
            "norms": torch.stack(self._norms) if self._norms else None,
            "pairs": self.pairs,
            "seconds": self.elapsed(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue the window of another process; tensors on the device of the training."""
        self._parts = {name: list(sums) for name, sums in state["parts"].items()}
        self._norms = [] if state["norms"] is None else list(state["norms"])
        self.pairs = state["pairs"]
        self._seconds, self._started = state["seconds"], time.perf_counter()
