"""Dense heads: from single patch tokens to texts, fitted in closed form to regions of composed pictures."""

from pipeline.alignment.dense.head import DenseHead
from pipeline.alignment.dense.run import TrainingObjects, fit_dense_head, training_objects

__all__ = ["DenseHead", "TrainingObjects", "fit_dense_head", "training_objects"]
