"""Sums over the steps since the last record, kept on the device until somebody looks."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pipeline.alignment.training.records import Outcome


@dataclass
class Stretch:
    """The steps since the last record.

    Attributes:
        parts: per part of the loss, per step: its sum over the pairs of the batch, (M,).
        norms: per step, (M,).
        pairs: how many there were.
        seconds: spent before `started`, by the run that was killed.
    """

    parts: dict[str, list[Tensor]] = field(default_factory=dict)
    norms: list[Tensor] = field(default_factory=list)
    pairs: int = 0
    seconds: float = 0.0
    started: float = field(default_factory=time.perf_counter)

    def add(self, outcome: Outcome, pairs: int) -> None:
        """Take up a step on so many pairs."""
        for name, part in outcome.parts.items():
            self.parts.setdefault(name, []).append(part * pairs)
        self.norms.append(outcome.norms)
        self.pairs += pairs

    def means(self) -> dict[str, list[float]]:
        """Parts of the loss as means over pairs, for each member."""
        return {name: (torch.stack(sums).sum(dim=0) / self.pairs).tolist() for name, sums in self.parts.items()}

    def mean_norms(self) -> list[float]:
        """Norms of the gradient as means over steps, for each member."""
        return torch.stack(self.norms).mean(dim=0).tolist()

    def elapsed(self) -> float:
        """Seconds it has taken so far."""
        return self.seconds + time.perf_counter() - self.started

    def tensors(self) -> dict[str, Tensor]:
        """What `restore` takes, (steps, M) each; nothing where there was no step."""
        stacked = {f"part/{name}": torch.stack(sums) for name, sums in self.parts.items()}
        return stacked | ({"norms": torch.stack(self.norms)} if self.norms else {})

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], pairs: int, seconds: float) -> "Stretch":
        """The same stretch in another process."""
        parts = {name.removeprefix("part/"): list(value) for name, value in tensors.items() if name != "norms"}
        return cls(parts, list(tensors["norms"]) if "norms" in tensors else [], pairs, seconds)
