"""Noise and mixing in place of image augmentation: a cached feature is the same in every epoch.

Shapes: B pairs, T tokens, D the width of an encoder. The generator is torch's own. Where several processes train, each
draws for the whole batch, as one process would, and uses what falls on its own rows.
"""

import torch
from torch import Tensor

from pipeline.alignment.data.batches import PairBatch
from pipeline.alignment.processes import ALONE, Processes


def noisy(batch: PairBatch, size: float, processes: Processes = ALONE) -> PairBatch:
    """Gaussian noise on every feature, `size` times the root mean square of its tensor."""

    def noise(x: Tensor) -> Tensor:
        x = x.float()
        if not processes.several or not x.numel():
            return x + size * x.square().mean().sqrt() * torch.randn_like(x) if x.numel() else x
        rows = len(batch)
        mean_square = processes.sum_(x.square().sum()) / (x[0].numel() * rows)
        drawn = torch.randn(rows, *x.shape[1:], device=x.device)[processes.share(rows)]
        return x + size * mean_square.sqrt() * drawn

    return batch.map_features(noise)


def mixed(batch: PairBatch, alpha: float, processes: Processes = ALONE) -> tuple[PairBatch, Tensor]:
    """FuseMix (Vouitsis et al., CVPR 2024): each pair mixed with another, in the same proportion on both sides.

    Args:
        alpha: of the Beta(alpha, alpha) distribution, from which one share per batch is drawn.

    Returns:
        Pair i as share * pair i + (1 - share) * pair order[i], and `order`, a permutation (B,) int64. Masks and ids are
        those of pair i.
    """
    device = batch.image_ids.device
    order = torch.randperm(len(batch), device=device)
    gamma = torch.distributions.Gamma(torch.full((2,), alpha, device=device), 1.0, validate_args=False)
    first, second = gamma.sample().unbind()
    share = first / (first + second)  # Beta(alpha, alpha), in a form that maps over stacked heads

    own = processes.share(len(batch))

    def mix(x: Tensor) -> Tensor:
        others = processes.rows_of_all(x, len(batch))[order[own]]
        return share * x.float() + (1 - share) * others.float()

    return batch.map_features(mix), order
