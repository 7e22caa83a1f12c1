"""How far a member of a training has come: its records, its best weights, and whether it is still training."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from pipeline.alignment.heads import Head
from pipeline.alignment.training.members import Member
from pipeline.alignment.training.records import EpochRecord, TrainedRepeat, best_record


@dataclass
class MemberState:
    """One member during training.

    Attributes:
        best_weights: those of the best record.
        samples_seen: up to the last record.
        finished: it has diverged or run out of patience, and gets no more records.
    """

    member: Member
    history: list[EpochRecord] = field(default_factory=list)
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    samples_seen: int = 0
    finished: bool = False

    def add(self, record: EpochRecord, weights: Mapping[str, Tensor], samples_seen: int) -> None:
        """Add a record, and keep a copy of the weights if it is the best so far."""
        self.history.append(record)
        self.samples_seen = samples_seen
        best = best_record(self.history)
        if best is record:
            self.best_weights = {name: value.clone() for name, value in weights.items()}
        params = self.member.params
        worse = [later for later in self.history[self.history.index(best) + 1 :] if later.step > params.min_steps]
        self.finished = 0 < params.patience <= len(worse)

    def result(self, head: Head, seconds: float) -> TrainedRepeat:
        """The result, with the best weights loaded into `head`."""
        if self.best_weights:
            head.load_state_dict(self.best_weights)
        best = best_record(self.history) if self.history else None
        return TrainedRepeat(
            head=head.eval(),
            member=self.member,
            seed=self.member.seed,
            best_epoch=best.epoch if best else 0,
            val_recall=best.val_recall if best else 0.0,
            seconds=seconds,
            samples_seen=self.samples_seen,
            history=tuple(self.history),
        )

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` takes."""
        return {
            "history": [asdict(record) for record in self.history],
            "best_weights": dict(self.best_weights),
            "samples_seen": self.samples_seen,
            "finished": self.finished,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where another process stopped; tensors on the device of the training."""
        self.history = [EpochRecord(**record) for record in state["history"]]
        self.best_weights = dict(state["best_weights"])
        self.samples_seen, self.finished = state["samples_seen"], state["finished"]
