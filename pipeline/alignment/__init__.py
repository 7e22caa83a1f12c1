"""Projectors between frozen feature spaces: heads, loss, training, and the saved model. It imports no encoder."""

from pipeline.alignment.model import HeadConfig, ProjectionHeads
from pipeline.alignment.run import train_aligner

__all__ = ["HeadConfig", "ProjectionHeads", "train_aligner"]
