"""The contrastive loss, for data in which one caption fits several images and one image has several captions."""

from typing import Any

import torch
from torch import Tensor

from pipeline.alignment.losses.blocks import info_nce_slope, info_nce_sums
from pipeline.alignment.losses.chunked import columns_of_all
from pipeline.alignment.processes import Processes


def info_nce(image_BK: Tensor, text_BK: Tensor, scale: Tensor, positive_BB: Tensor) -> Tensor:
    """Symmetric InfoNCE (van den Oord et al. 2018; Radford et al. 2021) with equally shared targets.

    Each row's target is uniform over its positives, and so is each column's: cross-entropy with soft targets, averaged
    over rows and columns. With one positive per row and column it is CLIP's loss.

    Args:
        image_BK, text_BK: unit vectors of the pairs, row by row.
        scale: scalar that multiplies the cosines.
        positive_BB: (B, B) bool from `pair_positives`; the diagonal is true.

    Returns:
        The loss, a scalar.
    """
    return soft_cross_entropy(scale * image_BK @ text_BK.T, positive_BB)


def soft_cross_entropy(logits_BB: Tensor, positive_BB: Tensor) -> Tensor:
    """The same from logits (B, B), images by texts."""
    weight_BB = positive_BB.to(logits_BB.dtype)
    positive_logits_BB = logits_BB * weight_BB
    image_to_text = logits_BB.logsumexp(dim=1) - positive_logits_BB.sum(dim=1) / weight_BB.sum(dim=1)
    text_to_image = logits_BB.logsumexp(dim=0) - positive_logits_BB.sum(dim=0) / weight_BB.sum(dim=0)
    return (image_to_text.mean() + text_to_image.mean()) / 2


def shared_cross_entropy(logits_RB: Tensor, positive_RB: Tensor, processes: Processes) -> Tensor:
    """This process's share of `soft_cross_entropy`, from the logits of its own images by the texts of all processes."""
    loss: Tensor = _SharedCrossEntropy.apply(logits_RB, positive_RB, processes)  # type: ignore[no-untyped-call]
    return loss


class _SharedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, positive: Tensor, processes: Processes) -> Tensor:
        rows, columns = info_nce_sums(logits, logits.new_ones(()), positive)
        columns_lse, columns_positive, columns_count = columns_of_all(columns, processes)
        ctx.save_for_backward(logits, positive, rows[0], columns_lse, rows[2], columns_count)
        size = logits.shape[1]
        of_rows, of_columns = rows[0] - rows[1] / rows[2], columns_lse - columns_positive / columns_count
        return (of_rows.sum() + of_columns[processes.share(size)].sum()) / (2 * size)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        logits, positive, *sums = ctx.saved_tensors
        slope = info_nce_slope(logits, logits.new_ones(()), positive, *sums)
        return slope * (grad / (2 * logits.shape[1])), None, None
