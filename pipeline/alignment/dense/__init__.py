"""Dense heads: from single patch tokens to texts, fitted in closed form to regions of composed pictures."""

from pipeline.alignment.dense.head import DenseHead
from pipeline.alignment.dense.run import fit_dense_head

__all__ = ["DenseHead", "fit_dense_head"]
