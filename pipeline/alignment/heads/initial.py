"""The head that a training starts from."""

from pipeline.alignment.data import AlignmentData
from pipeline.alignment.heads.base import Head
from pipeline.alignment.heads.build import build_head
from pipeline.config.schema import AlignerSpec, TrainParams


def initial_head(spec: AlignerSpec, data: AlignmentData, params: TrainParams, repeat: int) -> Head:
    """The head of `spec` on the device of `data`: drawn from torch's generator, or fitted on the pairs of `repeat`."""
    del repeat
    features = data.features
    return build_head(spec, features.vision_dim, features.text_dim, params).to(features.device)
