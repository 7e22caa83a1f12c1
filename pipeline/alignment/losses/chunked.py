"""Contrastive losses whose similarity matrix is never in memory as a whole: it is computed in blocks, each block twice.

Shapes: B pairs, R rows and C columns of a block, K the shared width. The forward pass keeps log-sum-exps of rows and
columns; the backward pass computes each block again and turns it into gradients at once. That takes four matrix
products instead of three, but memory for R * C numbers instead of B * B. On an accelerator a block has whole rows: at
B = 65,536 and 2,048 rows it has 0.54 GB instead of 17 GB, and what is computed of it is fused (`Fused`). On a CPU it is
also cut by columns, so that it stays in the cache.

Where several processes train, each computes the rows of its own images, against the captions of all: R below may be
fewer than B. What comes back is the share of the process in the loss.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from pipeline.alignment.losses.blocks import (
    at_least_single,
    info_nce_slope,
    info_nce_sums,
    sigmoid_slope,
    sigmoid_sum,
)
from pipeline.alignment.losses.positives import Positives
from pipeline.alignment.processes import ALONE, Processes

_ROWS, _COLUMNS = 1024, 2048  # of a block on a CPU: 8 MB

Slope = Callable[[slice, slice, Tensor], Tensor]  # rows, columns and product of a block (R, C) -> (R, C)


def chunked_info_nce(
    image_RK: Tensor, text_BK: Tensor, scale: Tensor, positive: Positives, rows: int, processes: Processes = ALONE
) -> Tensor:
    """`info_nce` in blocks of at most `rows` rows; equal up to rounding, including the gradients.

    Args:
        image_RK: of the images of this process.
        positive: of all images and captions.
    """
    image_RK, text_BK = _in_autocast(image_RK, text_BK)
    loss: Tensor = _InfoNCE.apply(image_RK, text_BK, scale, positive, rows, processes)[0]  # type: ignore[no-untyped-call]
    return loss


def chunked_sigmoid(
    image_RK: Tensor,
    text_BK: Tensor,
    scale: Tensor,
    bias: Tensor,
    positive: Positives,
    normaliser: int,
    rows: int,
    processes: Processes = ALONE,
) -> Tensor:
    """`sigmoid_loss` in blocks of at most `rows` rows; `normaliser` is what the sum over all entries is divided by."""
    image_RK, text_BK = _in_autocast(image_RK, text_BK)
    positive = of_own_rows(positive, processes.share(len(text_BK)))
    loss: Tensor = _Sigmoid.apply(image_RK, text_BK, scale, bias, positive, normaliser, rows)  # type: ignore[no-untyped-call]
    return loss


def of_own_rows(positive: Positives, own: slice) -> Positives:
    """Positives by rows counted from the beginning of a part."""
    return lambda rows, columns: positive(slice(own.start + rows.start, own.start + rows.stop), columns)


def columns_of_all(sums: Sequence[Tensor], processes: Processes) -> tuple[Tensor, ...]:
    """Log-sum-exps, sums and numbers of positives of columns, (B,) each, over the rows of all processes."""
    if not processes.several:
        return tuple(sums)
    lse, positive, count = sums
    stacked = processes.stacked(torch.stack([lse, positive, count.to(lse.dtype)]))
    return stacked[:, 0].logsumexp(0), stacked[:, 1].sum(0), stacked[:, 2].sum(0)


class _InfoNCE(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(
        image: Tensor, text: Tensor, scale: Tensor, positive: Positives, rows: int, processes: Processes
    ) -> tuple[Tensor, ...]:
        own = processes.share(len(text))
        positive = of_own_rows(positive, own)
        by_row, by_column = _Sums(), _Sums()
        for row, column in _blocks(image, text, rows):
            of_rows, of_columns = info_nce_sums(image[row] @ text[column].T, scale, positive(row, column))
            by_row.add(row, *of_rows)
            by_column.add(column, *of_columns)
        row_lse, row_positive, row_count = by_row.joined()
        column_lse, column_positive, column_count = columns_of_all(by_column.joined(), processes)
        total = (row_lse - row_positive / row_count).sum() + (column_lse - column_positive / column_count)[own].sum()
        return total / (2 * len(text)), row_lse, column_lse, row_count, column_count

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        image, text, scale, positive, ctx.rows, processes = inputs
        ctx.positive = of_own_rows(positive, processes.share(len(text)))
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(image, text, scale, *output[1:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_none: Any) -> tuple[Tensor | None, ...]:
        image, text, scale, row_lse, column_lse, row_count, column_count = ctx.saved_tensors

        def slope(row: slice, column: slice, product_RC: Tensor) -> Tensor:
            sums = row_lse[row], column_lse[column], row_count[row], column_count[column]
            return info_nce_slope(product_RC, scale, ctx.positive(row, column), *sums)

        d_image, d_text, d_scale = _gradients(image, text, scale, slope, grad / (2 * len(text)), ctx.rows)
        return d_image, d_text, d_scale, None, None, None


class _Sigmoid(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(
        image: Tensor, text: Tensor, scale: Tensor, bias: Tensor, positive: Positives, normaliser: int, rows: int
    ) -> Tensor:
        total = scale.new_zeros(())
        for row, column in _blocks(image, text, rows):
            total = total - sigmoid_sum(image[row] @ text[column].T, scale, bias, positive(row, column))
        return total / normaliser

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        del output
        image, text, scale, bias, ctx.positive, ctx.normaliser, ctx.rows = inputs
        ctx.save_for_backward(image, text, scale, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        image, text, scale, bias = ctx.saved_tensors
        by_bias = []

        def slope(row: slice, column: slice, product_RC: Tensor) -> Tensor:
            slope_RC, total = sigmoid_slope(product_RC, scale, bias, ctx.positive(row, column))
            by_bias.append(total)
            return slope_RC

        factor = grad / ctx.normaliser
        of_others = _gradients(image, text, scale, slope, factor, ctx.rows)
        return *of_others, torch.stack(by_bias).sum() * factor, None, None, None


class _Sums:
    """Per row, or per column: the logarithm of a sum of exponentials, the sum over the positives, and their number."""

    def __init__(self) -> None:
        self._parts: dict[int, tuple[Tensor, Tensor, Tensor]] = {}  # by the first row

    def add(self, part: slice, lse: Tensor, positive: Tensor, count: Tensor) -> None:
        """Add a block's contribution to the rows of `part`."""
        if part.start in self._parts:
            before = self._parts[part.start]
            lse, positive, count = torch.logaddexp(before[0], lse), before[1] + positive, before[2] + count
        self._parts[part.start] = lse, positive, count

    def joined(self) -> tuple[Tensor, ...]:
        """All rows, (B,) each."""
        return tuple(
            torch.cat(part) for part in zip(*(self._parts[start] for start in sorted(self._parts)), strict=True)
        )


def _gradients(
    image: Tensor, text: Tensor, scale: Tensor, slope: Slope, factor: Tensor, rows: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of image, text and scale; the derivative by the logits of a block is `factor` times `slope`."""
    d_image: dict[int, Tensor] = {}
    d_text: dict[int, Tensor] = {}
    for row, column in _blocks(image, text, rows):
        slope_RC = slope(row, column, image[row] @ text[column].T)
        _add(d_image, row, slope_RC @ text[column])
        _add(d_text, column, slope_RC.T @ image[row])
    by_image, by_text = (torch.cat([sums[start] for start in sorted(sums)]) for sums in (d_image, d_text))
    return (
        (by_image * (factor * scale)).to(image.dtype),
        (by_text * (factor * scale)).to(text.dtype),
        (by_image * image).sum() * factor,
    )


def _add(sums: dict[int, Tensor], part: slice, new: Tensor) -> None:
    new = at_least_single(new)
    sums[part.start] = sums[part.start] + new if part.start in sums else new


def _blocks(image: Tensor, text: Tensor, rows: int) -> Iterator[tuple[slice, slice]]:
    """Blocks, row by row. A compiled graph gets whole rows: it grows with the number of blocks."""
    height, width = len(image), len(text)
    columns = width
    if image.device.type == "cpu" and not torch.compiler.is_compiling():
        rows, columns = min(rows, _ROWS), min(columns, _COLUMNS)
    for row in range(0, height, rows):
        for column in range(0, width, columns):
            yield slice(row, min(row + rows, height)), slice(column, min(column + columns, width))


def _in_autocast(*tensors: Tensor) -> tuple[Tensor, ...]:
    """In the dtype in which autocast would multiply them, since the backward pass runs outside autocast."""
    device = tensors[0].device.type
    if not torch.is_autocast_enabled(device):
        return tensors
    return tuple(tensor.to(torch.get_autocast_dtype(device)) for tensor in tensors)
