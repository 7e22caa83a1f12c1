"""STRUCTURE's term (NeurIPS 2025): a head should preserve the neighbourhoods within each modality.

Shapes: B samples, of which R are compared, D and K the widths before and after the head.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.alignment.losses.positives import EVERY

_LEAST = 1e-30  # a share below it counts as it would, to the last digit of float32, but has a finite logarithm


def log_neighbours(x_BD: Tensor, temperature: float, rows: slice = EVERY) -> Tensor:
    """Logarithm of the softmax over the cosines of centred vectors, (R, B); finite at any temperature."""
    unit_BD = F.normalize(x_BD - x_BD.mean(dim=0, keepdim=True), dim=-1)
    return (unit_BD[rows] @ unit_BD.T / temperature).log_softmax(dim=-1)


def structure_loss(
    before_BD: Tensor, after_BK: Tensor, temperature: float, levels: int = 1, rows: slice = EVERY
) -> Tensor:
    """Jensen-Shannon divergence between neighbourhoods before and after the head, mean over rows and levels.

    Level l compares the l-th matrix powers: neighbours of neighbours. It lies between 0 and ln 2. Memory is B * B:
    batches may have a few thousand samples.

    Args:
        before_BD: the head's inputs, which need no gradient.
        after_BK: its outputs.
        temperature: of both softmaxes.
        levels: number of powers.
        rows: the samples over which the mean is taken; their neighbours are among all.

    Returns:
        A scalar.
    """
    sides = before_BD, after_BK
    log_before_RB, log_after_RB = (log_neighbours(side, temperature, rows) for side in sides)
    total = jensen_shannon(log_before_RB, log_after_RB)
    left, right = log_before_RB.exp(), log_after_RB.exp()
    before_BB, after_BB = left, right
    if levels > 1 and len(left) < len(before_BD):
        before_BB, after_BB = (log_neighbours(side, temperature).exp() for side in sides)
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
