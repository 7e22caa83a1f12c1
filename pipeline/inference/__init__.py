"""The model that users load: frozen encoders and fitted heads behind one class."""

from pipeline.inference.classify import Label
from pipeline.inference.ensemble import Ensemble
from pipeline.inference.inputs import ImageLike
from pipeline.inference.model import Aligner
from pipeline.inference.search import Hit

__all__ = ["Aligner", "Ensemble", "Hit", "ImageLike", "Label"]
