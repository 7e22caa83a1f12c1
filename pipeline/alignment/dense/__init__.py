"""Dense heads: from single patch tokens to texts, fitted in closed form to regions of composed pictures."""

from pipeline.alignment.dense.head import DenseHead
from pipeline.alignment.dense.run import (
    CaptionedObjects,
    TrainingObjects,
    captioned_objects,
    fit_dense_head,
    training_objects,
)

__all__ = [
    "CaptionedObjects",
    "DenseHead",
    "TrainingObjects",
    "captioned_objects",
    "fit_dense_head",
    "training_objects",
]
