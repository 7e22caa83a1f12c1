"""Noise for features that never change: a cached feature is the same at every epoch, an augmented picture is not.

Shapes: B pairs, T tokens, D the width of an encoder. The generator is torch's own.
"""

import torch
from torch import Tensor

from pipeline.alignment.data.batches import PairBatch
from pipeline.alignment.data.inputs import ImageInput, TextInput


def noisy(batch: PairBatch, size: float) -> PairBatch:
    """Gaussian noise on every feature, `size` times the root mean square of its tensor."""
    images, texts = batch.images, batch.texts
    return PairBatch(
        ImageInput(_noisy(images.cls, size), _noisy(images.local, size)),
        TextInput(_noisy(texts.tokens, size), texts.mask),
        batch.image_ids,
        batch.text_ids,
    )


def mixed(batch: PairBatch, alpha: float) -> tuple[PairBatch, Tensor]:
    """FuseMix (Vouitsis et al., CVPR 2024): each pair mixed with another, with one share for both modalities.

    Args:
        alpha: of the Beta(alpha, alpha) distribution, from which one share per batch is drawn.

    Returns:
        Pair i as share * pair i + (1 - share) * pair order[i], and `order`, a permutation (B,) int64. Ids are those of
        pair i.
    """
    images, texts = batch.images, batch.texts
    order = torch.randperm(len(batch), device=batch.image_ids.device)
    gamma = torch.distributions.Gamma(torch.full((2,), alpha, device=images.cls.device), 1.0, validate_args=False)
    first, second = gamma.sample().unbind()
    share = first / (first + second)  # Beta(alpha, alpha), in a form that maps over stacked heads

    def mix(x: Tensor) -> Tensor:
        x = x.float()
        return share * x + (1 - share) * x[order]

    together = PairBatch(
        ImageInput(mix(images.cls), mix(images.local)),
        TextInput(mix(texts.tokens), texts.mask),
        batch.image_ids,
        batch.text_ids,
    )
    return together, order


def _noisy(x: Tensor, size: float) -> Tensor:
    x = x.float()
    return x + size * x.square().mean().sqrt() * torch.randn_like(x) if x.numel() else x
