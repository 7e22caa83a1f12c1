"""The learning rate schedule, and the optimiser."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW

from pipeline.config import TrainParams

LARGEST_WARMUP = 0.1  # share of the steps


def planned_epochs(pairs: int, params: TrainParams) -> int:
    """`epochs`, or as many as `min_steps` steps need where that is more.

    Args:
        pairs: of the train split; an epoch has one step per `batch_size` of them, rounded up.
    """
    return max(params.epochs, math.ceil(params.min_steps / math.ceil(pairs / params.batch_size)))


def warmup_of(steps: int, params: TrainParams) -> int:
    """Steps of the warm-up: `warmup_steps`, at most a tenth of all `steps`, rounded down."""
    return min(params.warmup_steps, math.floor(LARGEST_WARMUP * steps))


def learning_rate(step: int, steps: int, params: TrainParams) -> float:
    """Rate at `step` of `steps`, counted from 0: a linear warm-up to `lr`, then a cosine that ends at `min_lr`.

    The only step of a training of one is taken at `lr`.
    """
    warmup = warmup_of(steps, params)
    if step < warmup:
        return params.lr * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - 1 - warmup)
    return params.min_lr + (params.lr - params.min_lr) * (1 + math.cos(math.pi * progress)) / 2


def optimiser(heads: Sequence[nn.Module], params: Sequence[TrainParams], capturable: bool = False) -> AdamW:
    """AdamW with weight decay for matrices only, not for biases, norms and the temperature.

    Each group of parameters has an entry "head", the number of its head; `params` are those of each head.

    Args:
        capturable: keep step and rates on the device, so that the update can be part of a CUDA graph.
    """
    groups: list[dict[str, Any]] = []
    for number, (head, settings) in enumerate(zip(heads, params, strict=True)):
        matrices = [weight for weight in head.parameters() if weight.ndim >= 2]
        others = [weight for weight in head.parameters() if weight.ndim < 2]
        groups.append({"params": matrices, "weight_decay": settings.weight_decay, "head": number})
        groups.append({"params": others, "weight_decay": 0.0, "head": number})
    if not capturable:
        return AdamW(groups, lr=params[0].lr, fused=True)
    for group in groups:
        group["lr"] = torch.tensor(params[group["head"]].lr, device=next(heads[0].parameters()).device)
    return AdamW([group for group in groups if group["params"]], fused=True, capturable=True)


def set_rates(adamw: AdamW, rates: Sequence[float]) -> None:
    """Set the learning rate of each head for the next step."""
    for group in adamw.param_groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(rates[group["head"]])
        else:
            group["lr"] = rates[group["head"]]
