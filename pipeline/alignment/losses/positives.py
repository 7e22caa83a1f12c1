"""Which captions of a batch are positives of which of its images, as a matrix or a block of it at a time.

Shapes: B pairs, R rows (images) and C columns (captions) of a block.
"""

from collections.abc import Callable

import torch
from torch import Tensor

EVERY = slice(None)
Positives = Callable[[slice, slice], Tensor]  # which images, which captions -> (R, C) bool


def pair_positives(images: Tensor, texts: Tensor) -> Positives:
    """The positives that the pairs of a batch give, block by block.

    No shape and no branch depends on the data, so it can be captured in a graph.

    Args:
        images: (B,) int64, the image of each pair, as any code that is equal for equal images.
        texts: (B,) int64, likewise for captions.

    Returns:
        A function whose entry (i, j) is true when some pair of the batch joins image i with caption j. That covers the
        pair itself, an identical caption elsewhere in the batch, and the other captions of the same image.
    """
    image_B, text_B = _codes(images), _codes(texts)

    def block(rows: slice, columns: slice) -> Tensor:
        row_R, row_B = _places(image_B, rows)
        column_C, column_B = _places(text_B, columns)
        joined = torch.zeros(len(row_R) + 1, len(column_C) + 1, dtype=torch.bool, device=images.device)
        joined = joined.index_put((row_B, column_B), joined.new_ones(()))
        return joined[row_R][:, column_C]

    return block


def equal(codes: Tensor, rows: slice, columns: slice) -> Tensor:
    """Where the codes (B,) of rows and columns are the same, (R, C) bool."""
    return codes[rows, None] == codes[None, columns]


def _codes(ids: Tensor) -> Tensor:
    """Equal for equal ids, each below B."""
    ids = ids.contiguous()
    return torch.searchsorted(ids.sort().values, ids)


def _places(code_B: Tensor, part: slice) -> tuple[Tensor, Tensor]:
    """A place below P for every code in the part (P,), and that of every pair (B,): P if the part lacks its code."""
    code_P = code_B[part]
    place = torch.full_like(code_B, len(code_P)).index_put((code_P,), torch.arange(len(code_P), device=code_B.device))
    return place[code_P], place[code_B]
