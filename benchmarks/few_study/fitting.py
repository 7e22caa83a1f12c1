"""Fitting a head to few or many pairs: computed ones once, trained ones at several rates, chosen on validation."""

import dataclasses
import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import torch
from torch import Tensor

from benchmarks.recipe_study.fitting import Fitted
from pipeline.alignment.closed_form.fit import fit_closed, resolved
from pipeline.alignment.data.batches import PairBatch
from pipeline.alignment.data.load import AlignmentData
from pipeline.alignment.data.resident import ResidentFeatures
from pipeline.alignment.training.records import TrainedRepeat, best_record
from pipeline.alignment.training.trainer import train_repeat
from pipeline.config import TRAINED, ClosedFormHead, FitSpec, TrainChanges, TrainedHead, TrainParams
from pipeline.errors import ModelError


@dataclass(frozen=True)
class Budget:
    """What every trained head gets, whatever its kind.

    Attributes:
        rates: learning rates, each a trial.
        steps: of the schedule, at most.
        least: steps before it may end early.
        quiet: steps without a better validation after which it does.
        batch: pairs of a step, at most.
        every: steps between validations.
        dropout: where the head's entry has none of its own.
    """

    rates: Sequence[float]
    steps: int
    least: int
    quiet: int
    batch: int
    every: int = 10
    dropout: float = 0.1

    def passes(self, pairs: int) -> int:
        """How often all pairs are gone through between two validations: more than once where they are few."""
        return max(1, self.every // math.ceil(pairs / self.batch))

    def params(self, pairs: int, rate: float, changes: TrainChanges) -> TrainParams:
        """For a train split of so many pairs, with an epoch of `passes` passes."""
        in_epoch = math.ceil(self.passes(pairs) * pairs / min(self.batch, pairs))
        between = min(self.every, in_epoch)
        base = TrainParams(
            epochs=math.ceil(self.steps / in_epoch), min_steps=self.least, batch_size=min(self.batch, pairs),
            validate_every=0 if between == in_epoch else between, patience=math.ceil(self.quiet / between),
            dropout=self.dropout, temperature=0.1, checkpoint_seconds=0.0, device="cpu",
        )  # fmt: skip
        return base.changed(changes).changed(TrainChanges(lr=rate))


class Passes(ResidentFeatures):
    """Features of few pairs, gone through several times in an epoch, as each epoch ends with a validation.

    Args:
        features: in memory.
        passes: in an epoch.
    """

    def __init__(self, features: ResidentFeatures, passes: int) -> None:
        super().__init__(features.images.inputs, features.texts.inputs, features.device)
        self._passes = passes

    def epoch(
        self, pairs: Tensor, batch_size: int, generator: torch.Generator, number: int, skip: int = 0
    ) -> Iterator[PairBatch]:
        """As `ResidentFeatures.epoch`, of pairs that are listed once for each pass; each has an order of its own."""
        steps = math.ceil(len(pairs) / batch_size)
        once = pairs[: len(pairs) // self._passes]
        every = (super(Passes, self).epoch(once, batch_size, generator, number) for _ in range(self._passes))
        yield from islice(chain.from_iterable(every), skip, steps)


def head_of(entry: dict[str, Any]) -> TrainedHead | ClosedFormHead:
    """The model of a head's entry."""
    fit = {"image": "image", "text": "text", "datasets": ["pairs"], "data": "all", "head": entry}
    head = FitSpec.model_validate_json(json.dumps(fit)).head
    assert isinstance(head, (ClosedFormHead, *TRAINED))
    return head


def fitted(spec: TrainedHead | ClosedFormHead, data: AlignmentData, repeat: int, seed: int, budget: Budget) -> Fitted:
    """The head that validation chooses.

    Raises:
        ModelError: every trial diverged.
    """
    started = time.perf_counter()
    if isinstance(spec, ClosedFormHead):
        head, recall, tried = fit_closed(resolved(spec, data)[0], data, repeat, seed)
        return Fitted(head, recall, time.perf_counter() - started, [{"tried": tried}])
    kept: TrainedRepeat | None = None
    trials, pairs = [], data.train[repeat]
    assert isinstance(data.features, ResidentFeatures)
    passes = budget.passes(len(pairs))
    listed = tuple(pairs.repeat(passes, 1) if number == repeat else one for number, one in enumerate(data.train))
    data = dataclasses.replace(data, train=listed, features=Passes(data.features, passes))
    for rate in budget.rates:
        params = budget.params(len(pairs), rate, spec.train)
        try:
            result = train_repeat(data, params, spec=spec, repeat=repeat, seed=seed, on_epoch=lambda _: None)
        except ModelError:
            trials.append({"lr": rate, "validation": None})
            continue
        best = best_record(result.history)
        last = result.history[-1].step
        trials.append({"lr": rate, "validation": result.val_recall, "best_step": best.step, "last_step": last})
        if kept is None or result.val_recall > kept.val_recall:
            kept = result
    if kept is None:
        raise ModelError(f"every trial of repeat {repeat} diverged")
    return Fitted(kept.head.eval(), kept.val_recall, time.perf_counter() - started, trials)
