"""How the learning rate moves, and which weights decay."""

import math

from torch import nn
from torch.optim import AdamW

from pipeline.config.schema import TrainParams


def learning_rate(step: int, steps: int, params: TrainParams) -> float:
    """Rate at `step` of `steps`, counted from 0: a linear warm-up to `lr`, then a cosine that ends at `min_lr`."""
    warmup = min(params.warmup_steps, steps - 1)
    if step < warmup:
        return params.lr * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - 1 - warmup)
    return params.min_lr + (params.lr - params.min_lr) * (1 + math.cos(math.pi * progress)) / 2


def optimiser(head: nn.Module, params: TrainParams) -> AdamW:
    """AdamW that decays matrices only: biases, norms and the temperature are left free."""
    matrices = [weight for weight in head.parameters() if weight.ndim >= 2]
    others = [weight for weight in head.parameters() if weight.ndim < 2]
    groups = [{"params": matrices, "weight_decay": params.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return AdamW(groups, lr=params.lr, fused=True)
