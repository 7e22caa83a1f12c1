"""Losses and gradients of many heads of one form in one pass over a batch (torch.func, vmap over stacked weights).

Each head keeps its own `nn.Parameter`s, which become views into one stacked tensor per name. Whatever works on one head
(optimiser, clipping, clamping, averaging, validation) therefore works unchanged on each of them.
"""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from pipeline.alignment.data.batches import PairBatch
from pipeline.alignment.heads import Head

Objective = Callable[[Head, PairBatch, float | Tensor], dict[str, Tensor]]


class Dropout(nn.Module):
    """Dropout whose rate is a buffer, so that it may differ between stacked heads.

    It draws other random numbers than torch's own: equal in distribution, not in values.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.register_buffer("kept", torch.tensor(1 - rate))

    def forward(self, x: Tensor) -> Tensor:
        """Zero each value with probability `rate`, else divide it by 1 - rate; unchanged in evaluation mode."""
        if not self.training:
            return x
        kept = torch.as_tensor(self.kept, dtype=x.dtype)
        return torch.where(torch.rand_like(x) < kept, x / kept, torch.zeros_like(x))


class StackedLosses:
    """The objective of M heads at once.

    Args:
        heads: of one form; their parameters become views into stacked tensors.
        rates: dropout of each.
    """

    def __init__(self, heads: Sequence[Head], objective: Objective, rates: Sequence[float]) -> None:
        copies = [_with_stackable_dropout(head, rate, any(rates)) for head, rate in zip(heads, rates, strict=True)]
        self._weights, self._buffers = stack_module_state(copies)
        self._one = _Objective(copies[0], objective).train()
        self._owners = [dict(head.named_parameters()) for head in heads]
        for name, stacked in self._weights.items():
            for owner, weight in zip(self._owners, stacked.detach().unbind(), strict=True):
                owner[name].data = weight

    def __call__(self, batch: PairBatch, progress: float | Tensor) -> dict[str, Tensor]:
        """Every part of the loss, (M,) each."""

        def of_one(weights: dict[str, Tensor], buffers: dict[str, Tensor]) -> dict[str, Tensor]:
            named = {f"head.{name}": value for name, value in (weights | buffers).items()}
            return functional_call(self._one, named, (batch, progress))  # type: ignore[no-any-return]

        return torch.vmap(of_one, randomness="different")(self._weights, self._buffers)

    def hand_out_gradients(self) -> None:
        """Give each head the gradients of its own weights, as views, and clear the stacked ones."""
        for name, stacked in self._weights.items():
            gradients = [None] * len(self._owners) if stacked.grad is None else stacked.grad.unbind()
            for owner, gradient in zip(self._owners, gradients, strict=True):
                owner[name].grad = gradient
            stacked.grad = None


class _Objective(nn.Module):
    """The objective as the forward pass of a module, which is what `functional_call` takes."""

    def __init__(self, head: Head, objective: Objective) -> None:
        super().__init__()
        self.head, self._objective = head, objective

    def forward(self, batch: PairBatch, progress: float | Tensor) -> dict[str, Tensor]:
        """The parts of the loss."""
        return self._objective(self.head, batch, progress)


def _with_stackable_dropout(head: Head, rate: float, needed: bool) -> Head:
    """A copy with dropout modules whose rates can be stacked, or without any if they are not needed."""
    head = copy.deepcopy(head)
    device = next(head.parameters()).device
    for module in list(head.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Dropout):
                setattr(module, name, Dropout(rate).to(device) if needed else nn.Identity())
    return head
