"""Losses over the pairs of a batch. Images may have several positive captions, and captions several images."""

from pipeline.alignment.losses.chunked import chunked_info_nce, chunked_sigmoid
from pipeline.alignment.losses.info_nce import info_nce, shared_cross_entropy, soft_cross_entropy
from pipeline.alignment.losses.patch_text import patch_text_logits
from pipeline.alignment.losses.sigmoid import sigmoid_loss
from pipeline.alignment.losses.structure import structure_loss

__all__ = [
    "chunked_info_nce",
    "chunked_sigmoid",
    "info_nce",
    "patch_text_logits",
    "shared_cross_entropy",
    "sigmoid_loss",
    "soft_cross_entropy",
    "structure_loss",
]
