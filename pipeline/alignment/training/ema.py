"""An exponential moving average of the weights of a head, judged and kept in their place."""

import copy
from typing import TypeVar

import torch
from torch import nn

Head = TypeVar("Head", bound=nn.Module)


def decay_at(step: int, decay: float) -> float:
    """The decay after `step` steps, from 1: lower at first, or the average would stay at the initialisation.

    min(decay, (1 + step) / (10 + step)), as in TensorFlow's ExponentialMovingAverage.
    """
    return min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def averaged(head: Head) -> Head:
    """A copy of `head` that stays in evaluation mode and asks for no gradients, for `move_towards`."""
    return copy.deepcopy(head).eval().requires_grad_(False)


@torch.no_grad()
def move_towards(average: nn.Module, head: nn.Module, decay: float) -> None:
    """average = decay * average + (1 - decay) * head, for every weight; buffers are copied."""
    torch._foreach_lerp_(list(average.parameters()), list(head.parameters()), 1 - decay)
    for mine, other in zip(average.buffers(), head.buffers(), strict=True):
        mine.copy_(other)
