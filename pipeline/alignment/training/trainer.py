"""Training heads on cached features: one repeat, which is one split, with one member or several."""

import copy
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from pipeline.alignment.data.load import AlignmentData
from pipeline.alignment.heads import Head
from pipeline.alignment.losses.objective import Objective
from pipeline.alignment.training.initial_head import initial_head
from pipeline.alignment.training.member_state import MemberState
from pipeline.alignment.training.members import ALONE, Member
from pipeline.alignment.training.metric_window import MetricWindow
from pipeline.alignment.training.progress import ProgressBar
from pipeline.alignment.training.records import EpochRecord, TrainedRepeat
from pipeline.alignment.training.resume import Checkpoint, moved
from pipeline.alignment.training.rng import rng_state, set_rng_state
from pipeline.alignment.training.schedule import learning_rate, planned_epochs
from pipeline.alignment.training.update import LOSS, Updater
from pipeline.alignment.validation import read_validation, validation_recall
from pipeline.config import TrainedHead, TrainParams
from pipeline.errors import ConfigError, ModelError

log = logging.getLogger(__name__)


def train_repeat(
    data: AlignmentData,
    params: TrainParams,
    *,
    spec: TrainedHead,
    repeat: int,
    seed: int,
    on_epoch: Callable[[EpochRecord], None],
    checkpoint: Checkpoint | None = None,
) -> TrainedRepeat:
    """Train the head of `spec` on the train split of `repeat`; the epoch is chosen on its validation split.

    `seed` fixes initialisation, order and dropout: on one CPU with one number of threads, equal seeds give equal
    weights. The caller's generator is left as it was. `params.members` is ignored.

    Args:
        on_epoch: called with each record as it is made; on resuming, first with those of the interrupted run.
        checkpoint: where the state is saved and resumed from; None for nowhere.

    Raises:
        ModelError: the loss is no longer finite, or a step cannot be compiled or captured.
        ConfigError: a captured step is asked for without a GPU.
    """
    member = Member(ALONE, seed, params)
    (result,) = train_members(
        data,
        (member,),
        spec=spec,
        repeat=repeat,
        seed=seed,
        on_record=lambda _, record: on_epoch(record),
        checkpoint=checkpoint,
    )
    return result


def train_members(
    data: AlignmentData,
    members: Sequence[Member],
    *,
    spec: TrainedHead,
    repeat: int,
    seed: int,
    on_record: Callable[[Member, EpochRecord], None],
    checkpoint: Checkpoint | None = None,
) -> list[TrainedRepeat]:
    """Train a head per member, side by side on the same batches; each as by `train_repeat`, except for its dropout.

    Args:
        members: they may differ in the seed of the initialisation, learning rate, weight decay, dropout and
            temperature; everything else is taken from the first. One that diverges is left out, unless all do.
        seed: of the order of batches.
        on_record, checkpoint: as in `train_repeat`.

    Raises:
        ModelError, ConfigError: as `train_repeat`.
    """
    device = data.features.device
    if members[0].params.step == "captured" and device.type != "cuda":
        raise ConfigError(
            f"train.step: captured records a CUDA graph, but training is on {device}. "
            "Set train.step: eager or compiled, or train.device: cuda, in params.yaml."
        )
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        return _Training(
            data,
            members,
            lambda member: initial_head(spec, data, member.params, repeat),
            Objective(spec.loss, data.concepts, data.processes),
            repeat,
            seed,
            on_record,
            checkpoint,
        ).run()


class _Training:
    """The training loop and its state."""

    def __init__(
        self,
        data: AlignmentData,
        members: Sequence[Member],
        make_head: Callable[[Member], Head],
        objective: Objective,
        repeat: int,
        seed: int,
        on_record: Callable[[Member, EpochRecord], None],
        checkpoint: Checkpoint | None,
    ) -> None:
        self._started, self._seconds_before = time.perf_counter(), 0.0  # before: in interrupted runs
        self._data, self._repeat, self._processes = data, repeat, data.processes
        self._on_record, self._checkpoint = on_record, checkpoint
        self._params = members[0].params
        self._pairs = data.train[repeat]
        self._validation = read_validation(data, repeat) if self._processes.first else None
        self._epoch_batches = math.ceil(len(self._pairs) / self._params.batch_size)
        self._require_pairs_for_all()
        self._epochs = planned_epochs(len(self._pairs), self._params)
        self._steps = self._epochs * self._epoch_batches
        heads = []
        for member in members:
            torch.manual_seed(member.seed)
            heads.append(make_head(member))
        self._updater = Updater(heads, members, objective, self._processes)
        self._members = [MemberState(member) for member in members]
        self._window = MetricWindow()
        self._order = torch.Generator().manual_seed(seed)
        self._order_state = self._order.get_state()  # at the beginning of the current epoch
        self._resumed = False
        self._epoch, self._batches_done, self._samples_seen = 1, 0, 0  # batches of the current epoch, samples of all

    def run(self) -> list[TrainedRepeat]:
        """Train to the end, from the beginning or from the checkpoint."""
        self._resume()
        with ProgressBar(self._repeat, self._steps, self._step, not self._processes.first) as bar:
            while self._epoch <= self._epochs and not self._finished():
                self._train_epoch(bar)
        if self._checkpoint is not None and self._checkpoint.seconds:
            self._checkpoint.write(self.state_dict())
        heads = self._updater.heads
        if len(heads) > 1:
            heads = copy.deepcopy(heads)  # out of the tensors in which they are stacked
        seconds = self._seconds()
        return [member.result(head, seconds) for member, head in zip(self._members, heads, strict=True)]

    def _train_epoch(self, bar: ProgressBar) -> None:
        """Take the remaining steps of the current epoch; stop early once all members have finished."""
        self._order_state = self._order.get_state()
        self._updater.train()
        for batch in self._data.features.epoch(
            self._pairs, self._params.batch_size, self._order, self._epoch, skip=self._batches_done
        ):
            rates = [learning_rate(self._step, self._steps, state.member.params) for state in self._members]
            metrics = self._updater(batch, rates, self._step, self._steps)
            self._window.add(metrics, len(batch))
            self._batches_done, self._samples_seen = self._batches_done + 1, self._samples_seen + len(batch)
            if self._validation_due():
                self._validate(rates, bar)
                if self._finished():
                    return
            if self._checkpoint is not None and self._checkpoint.due():
                self._checkpoint.write(self.state_dict())
            bar.step()
        self._epoch, self._batches_done = self._epoch + 1, 0

    @property
    def _step(self) -> int:
        """Steps taken so far."""
        return (self._epoch - 1) * self._epoch_batches + self._batches_done

    def _seconds(self) -> float:
        """Spent so far, including interrupted runs."""
        return self._seconds_before + time.perf_counter() - self._started

    def _finished(self) -> bool:
        return all(state.finished for state in self._members)

    def _validation_due(self) -> bool:
        every = self._params.validate_every
        return self._batches_done == self._epoch_batches or (every > 0 and self._step % every == 0)

    def _validate(self, rates: Sequence[float], bar: ProgressBar) -> None:
        """Add a record to each member that is still training, and start a new window."""
        means, norms = self._window.means(), self._window.mean_norms()
        speed = self._window.pairs / self._window.elapsed()
        self._updater.copy_from_first()
        for number, state in enumerate(self._members):
            if state.finished:
                continue
            parts = {name: values[number] for name, values in means.items()}
            loss = parts.pop(LOSS)
            if not math.isfinite(loss):
                self._diverged(state, loss)
                continue
            head = self._updater.evaluated_heads[number]
            record = EpochRecord(
                repeat=self._repeat,
                epoch=self._epoch,
                step=self._step,
                loss=loss,
                lr=rates[number],
                logit_scale=self._updater.heads[number].scale().item(),
                grad_norm=norms[number],
                samples_per_second=speed,
                val_recall=self._validation_recall(head),
                parts=parts if len(parts) > 1 else {},
            )
            state.add(record, head.state_dict(), self._samples_seen)
            bar.show(record)
            self._on_record(state.member, record)
        self._updater.train()
        self._window = MetricWindow()

    def _validation_recall(self, head: Head) -> float:
        """Of the first process, which has the validation split; all processes decide by it."""
        found = 0.0 if self._validation is None else validation_recall(head, self._validation)
        return self._processes.of_first(found)

    def _require_pairs_for_all(self) -> None:
        smallest, count = len(self._pairs) // self._epoch_batches, self._processes.count
        if smallest < count:
            raise ConfigError(
                f"A batch of repeat {self._repeat} has {smallest} pairs, and each of the {count} processes needs at "
                f"least one of them. Start at most {smallest} processes, or raise train.batch_size in params.yaml."
            )

    def _diverged(self, state: MemberState, loss: float) -> None:
        """Leave the member out; raise if no other has a record or is still training."""
        state.finished = True
        whose = f"member {state.member.name!r}, " if len(self._members) > 1 else ""
        message = (
            f"The loss of {whose}repeat {self._repeat} is {loss} in epoch {self._epoch}, after {self._step} steps at "
            f"learning rates of up to {state.member.params.lr:g}."
        )
        if len(self._members) == 1 or not any(other.history or not other.finished for other in self._members):
            advice = "Lower train.lr or train.grad_clip, or raise train.warmup_steps in params.yaml."
            if self._checkpoint is not None and self._checkpoint.remove() and self._resumed:
                advice = (
                    f"It had resumed from {self._checkpoint.path}, which is removed: run it again, and it starts from "
                    f"the beginning. If it ends like this again: {advice[0].lower()}{advice[1:]}"
                )
            raise ModelError(f"{message} {advice}")
        log.warning("%s It is left out from here on", message)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the rest of the training depends on."""
        return {
            "updater": self._updater.state_dict(),
            "members": [state.state_dict() for state in self._members],
            "window": self._window.state_dict(),
            "rng": rng_state(self._data.features.device),
            "order": self._order_state,
            "epoch": self._epoch,
            "batches_done": self._batches_done,
            "samples_seen": self._samples_seen,
            "seconds": self._seconds(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` gave."""
        self._updater.load_state_dict(state["updater"])
        for member, saved in zip(self._members, state["members"], strict=True):
            member.load_state_dict(saved)
        self._window.load_state_dict(state["window"])
        set_rng_state(state["rng"], self._data.features.device)
        self._order.set_state(state["order"].cpu())
        self._epoch, self._batches_done = state["epoch"], state["batches_done"]
        self._samples_seen, self._seconds_before = state["samples_seen"], state["seconds"]

    def _resume(self) -> None:
        """Continue from the checkpoint, if any, and report its records."""
        device = self._data.features.device
        place = "cpu" if self._processes.several else device
        state = self._checkpoint.read(place) if self._checkpoint is not None else None
        if self._processes.several:
            state = moved(self._processes.of_first(state), device)
        if state is None:
            return
        self.load_state_dict(state)
        self._resumed = True
        for member in self._members:
            for record in member.history:
                self._on_record(member.member, record)
        log.info("Repeat %d resumes after %d of %d steps", self._repeat, self._step, self._steps)
