"""Contrastive losses whose matrix of similarities is never whole in memory: blocks of rows, and each block twice.

Shapes: B pairs, R rows of a block, K the shared width. The forward pass keeps logarithms of sums by row and by column;
the backward pass computes each block again and turns it into gradients at once. That costs one more matrix product of
four, and B * R numbers instead of B * B: at B = 65,536 and 2,048 rows 0.54 GB a matrix and not 17 GB. About six
such matrices live at a time, those of the right captions included.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Positives = Callable[[slice], Tensor]  # rows of images -> (R, B) bool, which captions are right for them


def chunked_info_nce(image_BK: Tensor, text_BK: Tensor, scale: Tensor, positive: Positives, rows: int) -> Tensor:
    """`info_nce` in blocks of `rows` rows; equal up to rounding, gradients included (tested)."""
    image_BK, text_BK = _in_autocast(image_BK, text_BK)
    loss: Tensor = _InfoNCE.apply(image_BK, text_BK, scale, positive, rows)[0]  # type: ignore[no-untyped-call]
    return loss


def chunked_sigmoid(
    image_BK: Tensor, text_BK: Tensor, scale: Tensor, bias: Tensor, positive: Positives, normaliser: int, rows: int
) -> Tensor:
    """`sigmoid_loss` in blocks of `rows` rows; `normaliser` is what the sum over all entries is divided by."""
    image_BK, text_BK = _in_autocast(image_BK, text_BK)
    loss: Tensor = _Sigmoid.apply(image_BK, text_BK, scale, bias, positive, normaliser, rows)  # type: ignore[no-untyped-call]
    return loss


class _InfoNCE(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(image: Tensor, text: Tensor, scale: Tensor, positive: Positives, rows: int) -> tuple[Tensor, ...]:
        total_row = scale.new_zeros(())
        column_lse: Tensor | None = None
        column_right: Tensor | None = None
        column_count: Tensor | None = None
        row_lse = []
        for block in _blocks(len(image), rows):
            logits_RB = _cosines(image[block], text) * scale
            right_RB = positive(block).to(logits_RB.dtype)
            lse_R = logits_RB.logsumexp(dim=1)
            total_row = total_row + (lse_R - (right_RB * logits_RB).sum(1) / right_RB.sum(1)).sum()
            row_lse.append(lse_R)
            new_lse, new_right, new_count = logits_RB.logsumexp(0), (right_RB * logits_RB).sum(0), right_RB.sum(0)
            column_lse = new_lse if column_lse is None else torch.logaddexp(column_lse, new_lse)
            column_right = new_right if column_right is None else column_right + new_right
            column_count = new_count if column_count is None else column_count + new_count
        assert column_lse is not None
        assert column_right is not None
        assert column_count is not None
        total_column = (column_lse - column_right / column_count).sum()
        loss = (total_row + total_column) / (2 * len(image))
        return loss, torch.cat(row_lse), column_lse, column_count

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        image, text, scale, ctx.positive, ctx.rows = inputs
        _, row_lse, column_lse, column_count = output
        ctx.mark_non_differentiable(row_lse, column_lse, column_count)
        ctx.save_for_backward(image, text, scale, row_lse, column_lse, column_count)

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_none: Any) -> tuple[Tensor | None, ...]:
        image, text, scale, row_lse, column_lse, column_count = ctx.saved_tensors

        def slope(block: slice, cosine_RB: Tensor) -> Tensor:
            logits_RB = cosine_RB * scale
            right_RB = ctx.positive(block).to(logits_RB.dtype)
            towards = (logits_RB - row_lse[block, None]).exp() + (logits_RB - column_lse[None]).exp()
            targets = right_RB / right_RB.sum(1, keepdim=True) + right_RB / column_count[None]
            by_logit: Tensor = (towards - targets) * (grad / (2 * len(image)))
            return by_logit

        d_image, d_text, d_scale, _no_bias = _gradients(image, text, scale, slope, ctx.rows)
        return d_image, d_text, d_scale, None, None


class _Sigmoid(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(
        image: Tensor, text: Tensor, scale: Tensor, bias: Tensor, positive: Positives, normaliser: int, rows: int
    ) -> Tensor:
        total = scale.new_zeros(())
        for block in _blocks(len(image), rows):
            logits_RB = _cosines(image[block], text) * scale + bias
            total = total - F.logsigmoid(torch.where(positive(block), logits_RB, -logits_RB)).sum()
        return total / normaliser

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        del output
        image, text, scale, bias, ctx.positive, ctx.normaliser, ctx.rows = inputs
        ctx.save_for_backward(image, text, scale, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        image, text, scale, bias = ctx.saved_tensors

        def slope(block: slice, cosine_RB: Tensor) -> Tensor:
            wrong_RB = torch.sigmoid(cosine_RB * scale + bias) - ctx.positive(block).to(cosine_RB.dtype)
            by_logit: Tensor = wrong_RB * (grad / ctx.normaliser)
            return by_logit

        d_image, d_text, d_scale, d_bias = _gradients(image, text, scale, slope, ctx.rows)
        return d_image, d_text, d_scale, d_bias, None, None, None


def _gradients(
    image: Tensor, text: Tensor, scale: Tensor, slope: Callable[[slice, Tensor], Tensor], rows: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of image, text, scale and bias from `slope`, the derivative by the logits of a block, (R, B)."""
    d_image = []
    d_text: Tensor | None = None
    d_scale, d_bias = scale.new_zeros(()), scale.new_zeros(())
    for block in _blocks(len(image), rows):
        cosine_RB = _cosines(image[block], text)
        slope_RB = slope(block, cosine_RB)
        d_scale = d_scale + (slope_RB * cosine_RB).sum()
        d_bias = d_bias + slope_RB.sum()
        by_cosine = (slope_RB * scale).to(text.dtype)
        d_image.append(by_cosine @ text)
        new = _at_least_single(by_cosine.T @ image[block])
        d_text = new if d_text is None else d_text + new
    assert d_text is not None
    return torch.cat(d_image), d_text.to(text.dtype), d_scale, d_bias


def _blocks(size: int, rows: int) -> Iterator[slice]:
    return (slice(start, min(start + rows, size)) for start in range(0, size, rows))


def _cosines(image_RK: Tensor, text_BK: Tensor) -> Tensor:
    return _at_least_single(image_RK @ text_BK.T)


def _at_least_single(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _in_autocast(*tensors: Tensor) -> tuple[Tensor, ...]:
    """In the dtype that autocast would multiply them in, since the backward pass runs outside it."""
    device = tensors[0].device.type
    if not torch.is_autocast_enabled(device):
        return tensors
    return tuple(tensor.to(torch.get_autocast_dtype(device)) for tensor in tensors)
