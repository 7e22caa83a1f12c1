"""What losses compute of one block of similarities: sums of its logits, and derivatives by them.

Shapes: R rows and C columns of a block. `product_RC` are the cosines as the matrix product gives them, in bfloat16
under autocast; all sums are in single precision or above.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.alignment.losses.fused import Fused

Sums = tuple[Tensor, Tensor, Tensor]  # log-sum-exp, sum over the positives, number of positives


@Fused
def info_nce_sums(product_RC: Tensor, scale: Tensor, positive_RC: Tensor) -> tuple[Sums, Sums]:
    """Of the rows, (R,) each, and of the columns, (C,) each."""
    logits_RC = at_least_single(product_RC) * scale
    positive_logits_RC = torch.where(positive_RC, logits_RC, 0.0)
    by_row = _logsumexp(logits_RC, 1), positive_logits_RC.sum(1), positive_RC.sum(1)
    by_column = _logsumexp(logits_RC, 0), positive_logits_RC.sum(0), positive_RC.sum(0)
    return by_row, by_column


@Fused
def info_nce_slope(
    product_RC: Tensor,
    scale: Tensor,
    positive_RC: Tensor,
    row_lse: Tensor,
    column_lse: Tensor,
    row_count: Tensor,
    column_count: Tensor,
) -> Tensor:
    """Softmax of rows plus that of columns minus both targets, (R, C) in the type of the product."""
    logits_RC = at_least_single(product_RC) * scale
    slope_RC = (logits_RC - row_lse[:, None]).exp_()
    slope_RC += logits_RC.sub_(column_lse[None]).exp_()
    target_RC = (1 / row_count)[:, None] + (1 / column_count)[None]
    slope_RC -= torch.where(positive_RC, target_RC, 0.0)
    return slope_RC.to(product_RC.dtype)


@Fused
def sigmoid_sum(product_RC: Tensor, scale: Tensor, bias: Tensor, positive_RC: Tensor) -> Tensor:
    """Sum over the block of the logarithm of the probability of the right answer, a scalar."""
    logits_RC = at_least_single(product_RC) * scale + bias
    return F.logsigmoid(torch.where(positive_RC, logits_RC, -logits_RC)).sum()


@Fused
def sigmoid_slope(product_RC: Tensor, scale: Tensor, bias: Tensor, positive_RC: Tensor) -> tuple[Tensor, Tensor]:
    """Probability minus answer, (R, C) in the type of the product, and the sum over the block in full precision."""
    slope_RC = (at_least_single(product_RC) * scale + bias).sigmoid_()
    slope_RC -= positive_RC.to(slope_RC.dtype)
    return slope_RC.to(product_RC.dtype), slope_RC.sum()


def at_least_single(x: Tensor) -> Tensor:
    """In float32, or in float64 if it is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _logsumexp(logits_RC: Tensor, dim: int) -> Tensor:
    """As torch's own, in a fifth of the time on a CPU."""
    most = logits_RC.amax(dim, keepdim=True)
    return (logits_RC - most).exp_().sum(dim).log_() + most.squeeze(dim)
