"""STRUCTURE's term (NeurIPS 2025): a head should preserve the neighbourhoods within each modality.

Shapes: B samples, D and K the widths before and after the head.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def neighbours(x_BD: Tensor, temperature: float) -> Tensor:
    """Softmax over the cosines of centred vectors, (B, B); rows sum to 1."""
    unit_BD = F.normalize(x_BD - x_BD.mean(dim=0, keepdim=True), dim=-1)
    shares_BB: Tensor = (unit_BD @ unit_BD.T / temperature).softmax(dim=-1)
    return shares_BB


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
    before_BB, after_BB = neighbours(before_BD, temperature), neighbours(after_BK, temperature)
    total = after_BB.new_zeros(())
    left, right = before_BB, after_BB
    for level in range(levels):
        if level:
            left, right = left @ before_BB, right @ after_BB
        total = total + jensen_shannon(left, right)
    return total / levels


def jensen_shannon(p_BB: Tensor, q_BB: Tensor) -> Tensor:
    """Mean over rows of the Jensen-Shannon divergence in nats; a scalar."""
    middle = ((p_BB + q_BB) / 2).clamp_min(1e-30).log()
    from_p, from_q = torch.special.xlogy(p_BB, p_BB) - p_BB * middle, torch.special.xlogy(q_BB, q_BB) - q_BB * middle
    divergence: Tensor = (from_p + from_q).sum(dim=-1).mean() / 2
    return divergence
