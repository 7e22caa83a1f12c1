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
    images, texts = images.contiguous(), texts.contiguous()
    code_B = torch.searchsorted(texts.sort().values, texts)  # equal for equal captions, below B
    here_R = images[rows]
    images_R = here_R.sort().values
    place_B = torch.searchsorted(images_R, images).clamp(max=len(images_R) - 1)
    row_B = place_B.where(images_R[place_B] == images, len(images_R))  # the last row takes what is not asked for
    known_RB = torch.zeros(len(images_R) + 1, len(images), dtype=torch.bool, device=images.device)
    known_RB = known_RB.index_put((row_B, code_B), known_RB.new_ones(()))  # by code of the caption
    return known_RB[torch.searchsorted(images_R, here_R)][:, code_B]
