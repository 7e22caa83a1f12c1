"""One vector per image out of its CLS token and its local tokens, for heads that take one.

Shapes: B images, T local tokens, P patches, D the width of the encoder.
"""

import torch
from torch import Tensor

from pipeline.alignment.data.inputs import ImageInput, TextInput
from pipeline.alignment.heads.base import token_mean
from pipeline.config import ImageVector


def image_vector(images: ImageInput, kind: ImageVector) -> Tensor:
    """(B, D) float32, of "concat" (B, 2 D): the CLS token, the mean over local tokens, their sum, or both in a row."""
    if kind == "cls":
        return images.cls.float()
    mean_BD = images.local.float().mean(dim=1)
    if kind == "mean":
        return mean_BD
    cls_BD = images.cls.float()
    return cls_BD + mean_BD if kind == "sum" else torch.cat([cls_BD, mean_BD], dim=-1)


def patch_vector(patch_BPD: Tensor, kind: ImageVector) -> Tensor:
    """The same for a patch that stands for a whole image of its own: it is both CLS token and mean."""
    patch_BPD = patch_BPD.float()
    if kind in ("cls", "mean"):
        return patch_BPD
    return 2 * patch_BPD if kind == "sum" else torch.cat([patch_BPD, patch_BPD], dim=-1)


def text_vector(texts: TextInput) -> Tensor:
    """(B, D) float32: the sentence embedding, or the mean over the tokens that count."""
    return token_mean(texts.tokens.float(), texts.mask)


def image_width(width: int, kind: ImageVector) -> int:
    """Width of `image_vector` from features of width D."""
    return 2 * width if kind == "concat" else width
