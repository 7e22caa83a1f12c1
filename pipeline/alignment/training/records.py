"""What a training reports: metrics of each step, a record per validation, and the result."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from pipeline.alignment.heads import Head
from pipeline.alignment.training.members import Member


@dataclass(frozen=True)
class StepMetrics:
    """Of one step, on the device: parts of the loss and norm of the gradient before clipping, (M,) each."""

    parts: dict[str, Tensor]
    norms: Tensor


@dataclass(frozen=True)
class EpochRecord:
    """Metrics of an epoch, or of the steps since the last validation.

    `epoch` counts from 1, `step` is the number of steps so far. `loss` is the mean over pairs, `grad_norm` the mean
    over steps before clipping; `lr` and `logit_scale` (what cosines are multiplied by) are those of the last step.
    `parts` are the parts of the loss if it has several, means over pairs.
    """

    repeat: int
    epoch: int
    step: int
    loss: float
    lr: float
    logit_scale: float
    grad_norm: float
    samples_per_second: float
    val_recall: float
    parts: dict[str, float] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """A line of curves.csv: the fields, then `loss_<part>` for each part."""
        fields = asdict(self)
        return fields | {f"loss_{name}": value for name, value in fields.pop("parts").items()}


@dataclass(frozen=True)
class TrainedRepeat:
    """The weights with the highest validation recall (the earliest of equals), and how training went.

    `history` is empty and `val_recall` is 0 for a member that diverged before its first record; its head is unusable.
    """

    head: Head
    member: Member
    seed: int
    best_epoch: int
    val_recall: float
    seconds: float
    samples_seen: int
    history: tuple[EpochRecord, ...]


def best_record(history: Sequence[EpochRecord]) -> EpochRecord:
    """The record with the highest validation recall, the earliest of equals."""
    return max(history, key=lambda record: record.val_recall)  # max keeps the earliest of equals
