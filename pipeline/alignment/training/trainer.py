"""Training heads on cached features, wherever they lie: one repeat, which is one split, of one member or of several."""

import copy
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Never

import torch
from torch import Tensor
from tqdm import tqdm

from pipeline.alignment.data.load import AlignmentData
from pipeline.alignment.losses.objective import Objective
from pipeline.alignment.training.initial_head import initial_head
from pipeline.alignment.training.member_state import Track
from pipeline.alignment.training.members import ALONE, Member
from pipeline.alignment.training.metric_window import Stretch
from pipeline.alignment.training.records import EpochRecord, TrainedRepeat, best_record
from pipeline.alignment.training.resume import Checkpoint
from pipeline.alignment.training.schedule import learning_rate
from pipeline.alignment.training.update import LOSS, Updates
from pipeline.alignment.validation import read_validation, validation_recall
from pipeline.config import TrainedHead, TrainParams
from pipeline.errors import ConfigError, ModelError

__all__ = ["EpochRecord", "TrainedRepeat", "train_members", "train_repeat"]

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
    weights. The generator of the caller is left as it was. `params.members` is not looked at.

    Args:
        on_epoch: called with each record as it is made; with those of a killed run first.
        checkpoint: where the state is kept and taken up again; None for nowhere.

    Raises:
        ModelError: the loss is no longer a finite number, or a step cannot be compiled or captured.
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
    """Train a head per member side by side on the same batches, each as `train_repeat` would alone but for its dropout.

    Args:
        members: what is theirs alone is the seed of the initialisation, rate, decay, dropout and temperature; all else
            is taken from the first. One that diverges is left out, unless all do.
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
        return _Training(data, members, spec, repeat, seed, on_record, checkpoint).run()


class _Training:
    """The loop and all of its state."""

    def __init__(
        self,
        data: AlignmentData,
        members: Sequence[Member],
        spec: TrainedHead,
        repeat: int,
        seed: int,
        on_record: Callable[[Member, EpochRecord], None],
        checkpoint: Checkpoint | None,
    ) -> None:
        self._started, self._spent = time.perf_counter(), 0.0
        self._data, self._repeat, self._seed = data, repeat, seed
        self._on_record, self._checkpoint = on_record, checkpoint
        self._params = members[0].params
        self._pairs = data.train[repeat]
        self._validation = read_validation(data, repeat)
        self._batches = math.ceil(len(self._pairs) / self._params.batch_size)  # of an epoch
        self._steps = self._params.epochs * self._batches
        heads = []
        for member in members:
            torch.manual_seed(member.seed)
            heads.append(initial_head(spec, data, member.params, repeat))
        self._updates = Updates(heads, members, Objective(spec.loss, data.concepts))
        self._tracks = [Track(member) for member in members]
        self._order = torch.Generator().manual_seed(seed)
        self._order_before = self._order.get_state()  # as the present epoch began
        self._epoch, self._done, self._seen = 1, 0, 0  # done: batches of the present epoch; seen: pairs of all
        self._stretch = Stretch()

    def run(self) -> list[TrainedRepeat]:
        """Train to the end, from the beginning or from where the checkpoint stands."""
        self._resume()
        with self._progress() as progress:
            for _ in self._epochs():
                progress.update()
        if self._checkpoint is not None and self._checkpoint.seconds:
            self._save()
        return [self._result(number) for number in range(len(self._tracks))]

    def _epochs(self) -> Iterator[None]:
        """Take every step that is left; yields after each."""
        while self._epoch <= self._params.epochs and not self._ended():
            self._order_before = self._order.get_state()
            self._updates.train()
            for batch in self._data.features.epoch(
                self._pairs, self._params.batch_size, self._order, self._epoch, skip=self._done
            ):
                rates = [learning_rate(self._step, self._steps, track.member.params) for track in self._tracks]
                outcome = self._updates(batch, rates, self._step, self._steps)
                self._stretch.add(outcome, len(batch))
                self._done, self._seen = self._done + 1, self._seen + len(batch)
                every = self._params.validate_every
                if self._done == self._batches or (every and self._step % every == 0):
                    self._judge(rates)
                    if self._ended():
                        return
                if self._checkpoint is not None and self._checkpoint.due():
                    self._save()
                yield
            self._epoch, self._done = self._epoch + 1, 0

    @property
    def _step(self) -> int:
        """Steps taken so far."""
        return (self._epoch - 1) * self._batches + self._done

    def _ended(self) -> bool:
        return all(track.ended for track in self._tracks)

    def _judge(self, rates: Sequence[float]) -> None:
        """Close the stretch: a record for each member that goes on."""
        means, norms = self._stretch.means(), self._stretch.mean_norms()
        speed = self._stretch.pairs / self._stretch.elapsed()
        for number, track in enumerate(self._tracks):
            if track.ended:
                continue
            own = {name: values[number] for name, values in means.items()}
            if not math.isfinite(own[LOSS]):
                self._diverged(track, own[LOSS])
                continue
            loss, head = own.pop(LOSS), self._updates.judged[number]
            record = EpochRecord(
                repeat=self._repeat,
                epoch=self._epoch,
                step=self._step,
                loss=loss,
                lr=rates[number],
                logit_scale=self._updates.heads[number].scale().item(),
                grad_norm=norms[number],
                samples_per_second=speed,
                val_recall=validation_recall(head, self._validation),
                parts=own if len(own) > 1 else {},
            )
            track.add(record, head.state_dict(), self._seen)
            self._on_record(track.member, record)
        self._updates.train()
        self._stretch = Stretch()

    def _diverged(self, track: Track, loss: float) -> None:
        """One member of many is left behind; the last one to go ends the training."""
        track.ended = True
        whose = f"member {track.member.name!r}, " if len(self._tracks) > 1 else ""
        what = (
            f"The loss of {whose}repeat {self._repeat} is {loss} in epoch {self._epoch}, after {self._step} steps with "
            f"rates up to {track.member.params.lr:g}."
        )
        if len(self._tracks) == 1 or not any(one.history or not one.ended for one in self._tracks):
            raise ModelError(f"{what} Lower train.lr or train.grad_clip, or raise train.warmup_steps in params.yaml.")
        log.warning("%s It is left out from here on", what)

    @contextmanager
    def _progress(self) -> Iterator["tqdm[Never]"]:
        """A bar over the steps, with what the last record of the best member shows."""
        with tqdm(
            total=self._steps, initial=self._step, desc=f"repeat {self._repeat}", unit="step", leave=False, disable=None
        ) as bar:
            report = self._on_record

            def show(member: Member, record: EpochRecord) -> None:
                shown = {"loss": f"{record.loss:.3f}", "val_recall": f"{record.val_recall:.3f}"}
                bar.set_postfix(shown | {"pairs/s": f"{record.samples_per_second:.3g}"})
                report(member, record)

            self._on_record = show
            yield bar

    def _result(self, number: int) -> TrainedRepeat:
        track = self._tracks[number]
        head = self._updates.heads[number]
        if len(self._tracks) > 1:
            head = copy.deepcopy(head)  # its weights lie between those of others
        if track.weights:
            head.load_state_dict(track.weights)
        best = best_record(track.history) if track.history else None
        return TrainedRepeat(
            head=head.eval(),
            member=track.member,
            seed=track.member.seed,
            best_epoch=best.epoch if best else 0,
            val_recall=best.val_recall if best else 0.0,
            seconds=self._spent + time.perf_counter() - self._started,
            samples_seen=track.samples_seen,
            history=tuple(track.history),
        )

    def _save(self) -> None:
        """Write everything that the rest of the training depends on."""
        assert self._checkpoint is not None
        tensors: dict[str, Tensor] = {"order": self._order_before, "random": torch.get_rng_state()}
        device = self._data.features.device
        if device.type == "cuda":
            tensors["random_device"] = torch.cuda.get_rng_state(device)
        for number, track in enumerate(self._tracks):
            held = {"head": self._updates.heads[number].state_dict(), "best": track.weights}
            if self._updates.averages:
                held["average"] = self._updates.averages[number].state_dict()
            tensors |= {f"{number}/{kind}/{name}": value for kind, of in held.items() for name, value in of.items()}
        state = self._updates.adamw.state_dict()["state"]
        tensors |= {f"adamw/{row}/{name}": value for row, own in state.items() for name, value in own.items()}
        tensors |= {f"stretch/{name}": value for name, value in self._stretch.tensors().items()}
        values = {
            "epoch": self._epoch,
            "done": self._done,
            "seen": self._seen,
            "seconds": self._spent + time.perf_counter() - self._started,
            "stretch": {"pairs": self._stretch.pairs, "seconds": self._stretch.elapsed()},
            "tracks": [track.values() for track in self._tracks],
        }
        self._checkpoint.write(tensors, values)

    def _resume(self) -> None:
        """Take up what the checkpoint holds, if anything."""
        found = self._checkpoint.read() if self._checkpoint is not None else None
        if found is None:
            return
        tensors, values = found
        device = self._data.features.device

        def under(prefix: str) -> dict[str, Tensor]:
            mine = {name: value for name, value in tensors.items() if name.startswith(prefix)}
            return {name.removeprefix(prefix): value for name, value in mine.items()}

        for number, track in enumerate(self._tracks):
            self._updates.heads[number].load_state_dict(under(f"{number}/head/"))
            if self._updates.averages:
                self._updates.averages[number].load_state_dict(under(f"{number}/average/"))
            best = {name: value.to(device) for name, value in under(f"{number}/best/").items()}
            track.restore(values["tracks"][number], best)
            for record in track.history:
                self._on_record(track.member, record)
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in under("adamw/").items():
            row, _, key = name.partition("/")
            state.setdefault(int(row), {})[key] = value
        groups = self._updates.adamw.state_dict()["param_groups"]
        self._updates.adamw.load_state_dict({"state": state, "param_groups": groups})
        stretch = {name: value.to(device) for name, value in under("stretch/").items()}
        self._stretch = Stretch.restore(stretch, **values["stretch"])
        self._epoch, self._done, self._seen = values["epoch"], values["done"], values["seen"]
        self._spent = values["seconds"]
        self._order.set_state(tensors["order"])
        torch.set_rng_state(tensors["random"])
        if device.type == "cuda":
            torch.cuda.set_rng_state(tensors["random_device"], device)
        log.info("Repeat %d goes on after %d of %d steps", self._repeat, self._step, self._steps)
