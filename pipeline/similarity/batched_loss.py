"""CLIP's loss of many members at once, with a backward pass written by hand.

The (M, B, B) matrix of similarities is read and written, not computed with: autograd would pass over it twenty times,
and it is far larger than a cache. Here it is filled by one product, exponentiated in place, summed twice, and enters
two products; rows and columns share the exponentials.

Shapes: M members, B rows of a batch, H width.
"""

from typing import Any

import torch
from torch import Tensor

MAX_SCALE = 40.0  # exp(scale * (cosine - 1)) stays a normal float32 number down to a cosine of -1


def clip_loss(first_MBH: Tensor, second_MBH: Tensor, scale_M: Tensor) -> Tensor:
    """Symmetric cross-entropy of each member, (M,): row i of one side belongs to row i of the other.

    Equal to `pipeline.alignment.losses.info_nce` where every row has one positive.

    Args:
        first_MBH, second_MBH: unit vectors.
        scale_M: what cosines are multiplied by, at most `MAX_SCALE`.
    """
    loss: Tensor = _ClipLoss.apply(first_MBH, second_MBH, scale_M)  # type: ignore[no-untyped-call]
    return loss


class _ClipLoss(torch.autograd.Function):
    """With E = exp(scale (S - 1)), r and c its row and column sums, the gradient in the logits S * scale is
    (E / r + E / c - 2 I) / 2B; the products with either side take the divisions out of the matrix."""

    @staticmethod
    def forward(ctx: Any, first: Tensor, second: Tensor, scale: Tensor) -> Tensor:
        factor = scale[:, None, None]
        weight = torch.baddbmm(-factor, factor * first, second.transpose(1, 2)).exp_()
        rows, columns = weight.sum(dim=2), weight.sum(dim=1)
        positive = scale[:, None] * ((first * second).sum(dim=2) - 1)
        ctx.save_for_backward(first, second, scale, weight, rows, columns)
        return ((rows.log() + columns.log()) / 2 - positive).mean(dim=1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        first, second, scale, weight, rows, columns = ctx.saved_tensors
        width = first.shape[2]
        over_rows, over_columns = 1 / rows[:, :, None], 1 / columns[:, :, None]
        forward = torch.bmm(weight, torch.cat([second, over_columns * second], dim=2))
        backward = torch.bmm(weight.transpose(1, 2), torch.cat([first, over_rows * first], dim=2))
        size = 2 * first.shape[1]
        in_first = (over_rows * forward[:, :, :width] + forward[:, :, width:] - 2 * second) / size
        in_second = (over_columns * backward[:, :, :width] + backward[:, :, width:] - 2 * first) / size
        in_scale = (first * in_first).sum(dim=(1, 2))  # logits are scale times cosine; a shift of all changes nothing
        outer = grads[0]
        factor = (outer * scale)[:, None, None]
        return factor * in_first, factor * in_second, outer * in_scale
