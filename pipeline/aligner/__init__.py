"""The model that users load: frozen encoders and trained heads behind one class."""

from pipeline.aligner.classify import Label
from pipeline.aligner.inputs import ImageLike
from pipeline.aligner.model import Aligner
from pipeline.aligner.search import Hit

__all__ = ["Aligner", "Hit", "ImageLike", "Label"]
