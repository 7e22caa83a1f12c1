"""One step of training on a batch: losses, gradients, clipping, AdamW, and the average of the weights."""

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from pipeline.alignment.data.batches import PairBatch
from pipeline.alignment.heads import Head
from pipeline.alignment.losses.objective import Objective
from pipeline.alignment.training.capture import Captured
from pipeline.alignment.training.ema import averaged, decay_at, move_towards
from pipeline.alignment.training.members import Member
from pipeline.alignment.training.records import Outcome
from pipeline.alignment.training.schedule import optimiser, set_rates
from pipeline.alignment.training.stacked import StackedLosses
from pipeline.errors import ModelError

Losses = Callable[[PairBatch, float | Tensor], dict[str, Tensor]]

LOSS = "loss"  # the entry of an objective's parts that is made small


class Updates:
    """The weights of M heads that train side by side, and how a batch moves them.

    One head goes the plain way. Several take one pass over the batch (`StackedLosses`); all that follows the gradients
    is done for each of them, with its own rate, decay and clipping, by what works for one.

    Args:
        heads: on the device, moved by every step.
        members: whose they are; precision, kind of step, clipping and averaging are those of the first.
    """

    def __init__(self, heads: Sequence[Head], members: Sequence[Member], objective: Objective) -> None:
        self.heads = list(heads)
        params = [member.params for member in members]
        self._params = params[0]
        self._device = next(heads[0].parameters()).device
        self._stacked = StackedLosses(heads, objective, [own.dropout for own in params]) if len(heads) > 1 else None
        self.adamw = optimiser(heads, params, capturable=self._params.step == "captured")
        self.averages = [averaged(head) for head in heads] if self._params.ema else []
        self._losses: Losses = self._stacked or partial(objective, heads[0])
        if self._params.step == "compiled":
            self._losses = _compiled(self._losses)
        self._progress: float | Tensor = 0.0
        if self._params.step != "eager":  # or the graph would hold the first value for ever
            self._progress = torch.zeros((), device=self._device)
        self._update: Callable[[PairBatch], Outcome] = self._plain
        if self._params.step == "captured":
            self._update = Captured(self._plain, self.moved)

    @property
    def judged(self) -> Sequence[Head]:
        """The heads that validation sees and that are kept: the averages, where there are."""
        return self.averages or self.heads

    def __call__(self, batch: PairBatch, rates: Sequence[float], step: int, steps: int) -> Outcome:
        """Move the weights once: step `step` of `steps`, counted from 0, at the learning rate of each member."""
        set_rates(self.adamw, rates)
        if isinstance(self._progress, Tensor):
            self._progress.fill_(step / steps)
        else:
            self._progress = step / steps
        outcome = self._update(batch)
        for average, head in zip(self.averages, self.heads, strict=False):
            move_towards(average, head, decay_at(step + 1, self._params.ema))
        return outcome

    def train(self) -> None:
        """Bring the heads into training mode, which validation leaves."""
        for head in self.heads:
            head.train()

    def moved(self) -> list[Tensor]:
        """Every tensor that a step changes in place: weights, and the optimiser's once it has any."""
        state = [value for own in self.adamw.state.values() for value in own.values() if isinstance(value, Tensor)]
        return [weight.detach() for head in self.heads for weight in head.parameters()] + state

    def _plain(self, batch: PairBatch) -> Outcome:
        with self._autocast():
            parts = self._losses(batch, self._progress)
        self.adamw.zero_grad()
        parts[LOSS].sum().backward()  # type: ignore[no-untyped-call]
        if self._stacked is not None:
            self._stacked.hand_out_gradients()
        clip = self._params.grad_clip or math.inf
        norms = [nn.utils.clip_grad_norm_(head.parameters(), clip) for head in self.heads]
        self.adamw.step()
        for head in self.heads:
            head.clamp_scale()
        return Outcome({name: part.detach().reshape(-1) for name, part in parts.items()}, torch.stack(norms))

    def _autocast(self) -> torch.autocast:
        # A cache of cast weights would outlive the graph that filled it; within one step it saves little.
        wanted = self._params.precision == "bfloat16"
        return torch.autocast(self._device.type, torch.bfloat16, enabled=wanted, cache_enabled=False)


def _compiled(losses: Losses) -> Losses:
    """The losses through torch.compile, once for each size of batch: an epoch has two at most."""
    from torch._dynamo.exc import TorchDynamoException  # takes a second, which other steps can spare

    torch.compiler.reset()  # or the code of the last repeat would count against the limit of recompilations
    made = torch.compile(losses, dynamic=False)

    def call(batch: PairBatch, progress: float | Tensor) -> dict[str, Tensor]:
        try:
            return made(batch, progress)
        except TorchDynamoException as error:
            raise ModelError(
                f"A step of this training cannot be compiled ({str(error).strip().splitlines()[0]}). torch.compile "
                "needs a C++ compiler; without one, set train.step: eager in params.yaml."
            ) from error

    return call
