"""An exponential moving average of the weights of a head, which is validated and kept in their place."""

import copy
from typing import TypeVar

import torch
from torch import nn

Head = TypeVar("Head", bound=nn.Module)


def decay_at(step: int, decay: float) -> float:
    """The decay after `step` steps, counted from 1: lower at first, or the average would stay near the initialisation.

    min(decay, (1 + step) / (10 + step)), as in TensorFlow's ExponentialMovingAverage.
    """
    return min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def frozen_copy(head: Head) -> Head:
    """A copy of `head` in evaluation mode and without gradients: the initial average."""
    return copy.deepcopy(head).eval().requires_grad_(False)


@torch.no_grad()
def update_average(average: nn.Module, head: nn.Module, decay: float) -> None:
    """average = decay * average + (1 - decay) * head, for every weight; buffers are copied."""
    torch._foreach_lerp_(list(average.parameters()), list(head.parameters()), 1 - decay)
    for target, source in zip(average.buffers(), head.buffers(), strict=True):
        target.copy_(source)
