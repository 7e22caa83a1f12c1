"""A term for dense tasks: texts are compared with the local tokens of an image, not with the image as a whole.

Shapes: B pairs, R images of a block, T local tokens, K the shared width.
"""

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

_ENTRIES = 1 << 24  # similarities of tokens and texts in memory at once


def patch_text_logits(patch_BTK: Tensor, text_BK: Tensor, scale: Tensor) -> Tensor:
    """Scaled similarities of images and texts, (B, B), by the tokens that fit the text best.

    Entry (i, j) is scale times the mean over the tokens of image i of their cosines with text j, weighted by the
    softmax over these tokens of the scaled cosines: the weights of PACL (Mukhoti et al., CVPR 2023). Tokens unrelated
    to a text hardly count, so they may belong to another. Blocks of images are computed again for their gradients, so
    that only one block and the result are in memory.
    """
    rows = max(1, _ENTRIES // max(1, patch_BTK.shape[1] * len(text_BK)))
    blocks = [patch_BTK] if rows >= len(patch_BTK) else list(torch.split(patch_BTK, rows))
    if len(blocks) == 1:
        return _block(patch_BTK, text_BK, scale)
    return torch.cat([checkpoint(_block, block, text_BK, scale, use_reentrant=False) for block in blocks])


def _block(patch_RTK: Tensor, text_BK: Tensor, scale: Tensor) -> Tensor:
    logits_RTB = scale * patch_RTK @ text_BK.T
    return (logits_RTB.softmax(dim=1) * logits_RTB).sum(dim=1)
