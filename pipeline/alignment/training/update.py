"""One step of training on a batch: losses, gradients, clipping, AdamW, and the average of the weights."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.alignment.data.batches import PairBatch
from pipeline.alignment.heads import Head
from pipeline.alignment.losses.objective import Objective
from pipeline.alignment.processes import ALONE, Processes
from pipeline.alignment.training.capture import CapturedStep
from pipeline.alignment.training.ema import decay_at, frozen_copy, update_average
from pipeline.alignment.training.members import Member
from pipeline.alignment.training.records import StepMetrics
from pipeline.alignment.training.schedule import optimiser, set_rates
from pipeline.alignment.training.shared_dropout import SharedDropout, share_dropout
from pipeline.alignment.training.stacked import StackedLosses
from pipeline.errors import ModelError

log = logging.getLogger(__name__)

Losses = Callable[[PairBatch, float | Tensor], dict[str, Tensor]]

LOSS = "loss"  # the entry of an objective's parts that is minimised


class Updater:
    """The weights of M heads that train side by side, and how a batch updates them.

    Several heads take a single pass over the batch (`StackedLosses`). All that follows the gradients is done for each
    head separately, with its own learning rate, weight decay and clipping, as for a single head.

    Args:
        heads: on the device, changed by every step.
        members: to which they belong; precision, kind of step, clipping and averaging are those of the first.
        objective: of the same processes.
        processes: that train the head together, from the weights of the first. Their steps are eager.

    Attributes:
        averages: of the weights of each head; empty unless `ema` is set.
    """

    def __init__(
        self, heads: Sequence[Head], members: Sequence[Member], objective: Objective, processes: Processes = ALONE
    ) -> None:
        self.heads, self._processes = list(heads), processes
        params = [member.params for member in members]
        self._params = params[0]
        self._dropouts: list[SharedDropout] = []
        step = self._params.step
        if processes.several:
            self._dropouts = [dropout for head in heads for dropout in share_dropout(head, processes)]
            if step != "eager":
                log.warning("train.step: %s is for one process; the steps of %d are eager", step, processes.count)
                step = "eager"
        self._device = next(heads[0].parameters()).device
        self._stacked = (
            StackedLosses(heads, objective, [settings.dropout for settings in params]) if len(heads) > 1 else None
        )
        self._adamw = optimiser(heads, params, capturable=step == "captured")
        self.averages: list[Head] = []
        self.copy_from_first()
        self.averages = [frozen_copy(head) for head in heads] if self._params.ema else []
        self._losses: Losses = self._stacked or partial(objective, heads[0])
        if step == "compiled":
            self._losses = _compiled(self._losses)
        self._progress: float | Tensor = 0.0
        if step != "eager":  # a graph would keep a plain number as a constant
            self._progress = torch.zeros((), device=self._device)
        self._update: Callable[[PairBatch], StepMetrics] = self._eager
        if step == "captured":
            self._update = CapturedStep(self._eager, self.state_tensors)

    @property
    def evaluated_heads(self) -> Sequence[Head]:
        """The heads that are validated and kept: the averages, if any."""
        return self.averages or self.heads

    def __call__(self, batch: PairBatch, rates: Sequence[float], step: int, steps: int) -> StepMetrics:
        """Take step `step` of `steps`, counted from 0, at the learning rate of each member."""
        set_rates(self._adamw, rates)
        if isinstance(self._progress, Tensor):
            self._progress.fill_(step / steps)
        else:
            self._progress = step / steps
        metrics = self._update(batch)
        for average, head in zip(self.averages, self.heads, strict=False):
            update_average(average, head, decay_at(step + 1, self._params.ema))
        return metrics

    def copy_from_first(self) -> None:
        """Take the weights of the first process, from which rounding on another kind of processor might lead away."""
        for head in (*self.heads, *self.averages):
            self._processes.copy_from_first_(head.state_dict().values())

    def train(self) -> None:
        """Put the heads into training mode; validation leaves them in evaluation mode."""
        for head in self.heads:
            head.train()

    def state_dict(self) -> dict[str, Any]:
        """Weights, averages and optimiser state. Learning rates are not part of it: every step sets them."""
        state = self._adamw.state_dict()["state"]
        return {
            "heads": [head.state_dict() for head in self.heads],
            "averages": [average.state_dict() for average in self.averages],
            "adamw": {str(parameter): values for parameter, values in state.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load what `state_dict` gave for the same heads and members."""
        for heads, saved in ((self.heads, state["heads"]), (self.averages, state["averages"])):
            for head, weights in zip(heads, saved, strict=True):
                head.load_state_dict(weights)
        groups = self._adamw.state_dict()["param_groups"]
        adamw = {int(parameter): values for parameter, values in state["adamw"].items()}
        self._adamw.load_state_dict({"state": adamw, "param_groups": groups})

    def state_tensors(self) -> list[Tensor]:
        """Every tensor that a step changes in place: the weights and, after the first step, the optimiser state."""
        weights = [weight.detach() for head in self.heads for weight in head.parameters()]
        moments = [
            value for state in self._adamw.state.values() for value in state.values() if isinstance(value, Tensor)
        ]
        return weights + moments

    def _eager(self, batch: PairBatch) -> StepMetrics:
        for dropout in self._dropouts:
            dropout.rows = len(batch)
        with self._autocast():
            parts = self._losses(batch, self._progress)
        self._adamw.zero_grad()
        parts[LOSS].sum().backward()  # type: ignore[no-untyped-call]
        if self._stacked is not None:
            self._stacked.hand_out_gradients()
        if self._processes.several:
            parts = self._summed(parts)
        clip = self._params.grad_clip or math.inf
        norms = [nn.utils.clip_grad_norm_(head.parameters(), clip) for head in self.heads]
        self._adamw.step()
        for head in self.heads:
            head.clamp_scale()
        return StepMetrics({name: part.detach().reshape(-1) for name, part in parts.items()}, torch.stack(norms))

    @torch.no_grad()
    def _summed(self, parts: dict[str, Tensor]) -> dict[str, Tensor]:
        """Sum the gradients over the processes, in place, and the parts of the loss with them."""
        gradients = [weight.grad for head in self.heads for weight in head.parameters() if weight.grad is not None]
        flat = torch.cat([value.float().flatten() for value in (*gradients, *parts.values())])
        sizes = [value.numel() for value in (*gradients, *parts.values())]
        sums = torch.split(self._processes.sum_(flat), sizes)
        for gradient, total in zip(gradients, sums, strict=False):
            gradient.copy_(total.view_as(gradient))
        return dict(zip(parts, sums[len(gradients) :], strict=True))

    def _autocast(self) -> torch.autocast:
        # Cached casts of weights would outlive the CUDA graph that made them, and save little within one step.
        enabled = self._params.precision == "bfloat16"
        return torch.autocast(self._device.type, torch.bfloat16, enabled=enabled, cache_enabled=False)


def _compiled(losses: Losses) -> Losses:
    """The losses through torch.compile, once for each batch size, of which an epoch has at most two."""
    from torch._dynamo.exc import TorchDynamoException  # takes a second to import, which only this step needs

    torch.compiler.reset()  # code of the previous repeat would count towards the recompilation limit
    compiled = torch.compile(losses, dynamic=False)

    def call(batch: PairBatch, progress: float | Tensor) -> dict[str, Tensor]:
        try:
            return compiled(batch, progress)
        except TorchDynamoException as error:
            raise ModelError(
                f"A step of this training cannot be compiled ({str(error).strip().splitlines()[0]}). torch.compile "
                "needs a C++ compiler; without one, set train.step: eager in params.yaml."
            ) from error

    return call
