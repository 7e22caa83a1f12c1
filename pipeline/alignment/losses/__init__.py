"""Losses over the pairs of a batch; every one takes several right captions per image and several images per caption."""

from pipeline.alignment.losses.info_nce import info_nce
from pipeline.alignment.losses.positives import positives

__all__ = ["info_nce", "positives"]
