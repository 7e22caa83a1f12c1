"""What a member of a training has shown so far: its records, its best weights, and whether it goes on."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from pipeline.alignment.training.members import Member
from pipeline.alignment.training.records import EpochRecord, best_record


@dataclass
class Track:
    """One member on its way.

    Attributes:
        weights: of the best record.
        samples_seen: up to the last record.
        ended: it has diverged, or its patience is at an end; nothing is recorded any more.
    """

    member: Member
    history: list[EpochRecord] = field(default_factory=list)
    weights: dict[str, Tensor] = field(default_factory=dict)
    samples_seen: int = 0
    ended: bool = False

    def add(self, record: EpochRecord, weights: Mapping[str, Tensor], samples_seen: int) -> None:
        """Take up a record, and a copy of the weights if it is the best so far."""
        self.history.append(record)
        self.samples_seen = samples_seen
        best = best_record(self.history)
        if best is record:
            self.weights = {name: value.clone() for name, value in weights.items()}
        patience = self.member.params.patience
        self.ended = patience > 0 and len(self.history) - 1 - self.history.index(best) >= patience

    def values(self) -> dict[str, Any]:
        """All but the weights, as JSON can hold it."""
        return {
            "history": [asdict(record) for record in self.history],
            "samples_seen": self.samples_seen,
            "ended": self.ended,
        }

    def restore(self, values: Mapping[str, Any], weights: dict[str, Tensor]) -> None:
        """Take up what `values` gave and the best weights."""
        self.history = [EpochRecord(**record) for record in values["history"]]
        self.samples_seen, self.ended = values["samples_seen"], values["ended"]
        self.weights = weights
