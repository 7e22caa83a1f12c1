"""STRUCTURE's term (NeurIPS 2025): a head should preserve the neighbourhoods within each modality.

Shapes: B samples, D and K the widths before and after the head.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

_LEAST = 1e-30  # a share below it counts as it would, to the last digit of float32, but has a finite logarithm


def log_neighbours(x_BD: Tensor, temperature: float) -> Tensor:
    """Logarithm of the softmax over the cosines of centred vectors, (B, B); finite at any temperature."""
    unit_BD = F.normalize(x_BD - x_BD.mean(dim=0, keepdim=True), dim=-1)
    return (unit_BD @ unit_BD.T / temperature).log_softmax(dim=-1)


def structure_loss(before_BD: Tensor, after_BK: Tensor, temperature: float, levels: int = 1) -> Tensor:
    """Jensen-Shannon divergence between neighbourhoods before and after the head, mean over rows and levels.

    Level l compares the l-th matrix powers: neighbours of neighbours. It lies between 0 and ln 2. Memory is B * B:
    batches may have a few thousand samples.

    Args:
        before_BD: the head's inputs, which need no gradient.
        after_BK: its outputs.
        temperature: of both softmaxes.
        levels: number of powers.

    Returns:
        A scalar.
    """
    log_before_BB, log_after_BB = log_neighbours(before_BD, temperature), log_neighbours(after_BK, temperature)
    total = jensen_shannon(log_before_BB, log_after_BB)
    before_BB, after_BB = log_before_BB.exp(), log_after_BB.exp()
    left, right = before_BB, after_BB
    for _ in range(1, levels):
        left, right = left @ before_BB, right @ after_BB
        total = total + jensen_shannon(left.clamp_min(_LEAST).log(), right.clamp_min(_LEAST).log())
    return total / levels


def jensen_shannon(log_p_BB: Tensor, log_q_BB: Tensor) -> Tensor:
    """Mean over rows of the Jensen-Shannon divergence in nats, a scalar, from the logarithms of both.

    With logarithms it has finite gradients where a share is too small for a float.
    """
    log_middle_BB = torch.logaddexp(log_p_BB, log_q_BB) - math.log(2)
    from_p, from_q = log_p_BB.exp() * (log_p_BB - log_middle_BB), log_q_BB.exp() * (log_q_BB - log_middle_BB)
    divergence: Tensor = (from_p + from_q).sum(dim=-1).mean() / 2
    return divergence
