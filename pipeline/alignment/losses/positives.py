"""Which captions of a batch are right for which of its images, as a matrix or a block of its rows at a time."""

import torch
from torch import Tensor


def positives(images: Tensor, texts: Tensor, rows: slice = slice(None)) -> Tensor:
    """Which captions of a batch are right for which of its images.

    No shape and no branch depends on the data, so it can be captured in a graph.

    Args:
        images: (B,) int64, the image of each pair, as any code that is equal for equal images.
        texts: (B,) int64, likewise for captions.
        rows: which images, R of them; all where not given.

    Returns:
        (R, B) bool: entry (i, j) is true when some pair of the batch joins image i with caption j. That covers the
        pair itself, an identical caption elsewhere in the batch, and the other captions of the same image.
    """
    code_B = torch.searchsorted(texts.sort().values, texts.contiguous())  # equal for equal captions, below B
    same_RB = (images[rows, None] == images[None, :]).to(torch.float32)
    known_RB = torch.zeros_like(same_RB).index_add(1, code_B, same_RB)  # by code of the caption
    return known_RB[:, code_B] > 0
