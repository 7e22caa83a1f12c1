"""Heads by name: what `head` of an aligner in params.yaml means."""

from pipeline.alignment.heads.base import Head
from pipeline.alignment.heads.freeze_align import FreezeAlign
from pipeline.config.schema import AlignerSpec, TrainParams


def build_head(spec: AlignerSpec, vision_dim: int, text_dim: int, params: TrainParams) -> Head:
    """A head with random weights from torch's generator, on the CPU.

    Args:
        spec: its head, width and inputs.
        vision_dim, text_dim: widths of the features.
        params: its dropout and temperature.

    Raises:
        ValueError: the head is fitted in closed form, or trains nothing.
    """
    embed_dim = spec.embed_dim or text_dim
    if spec.head == "freeze-align":
        return FreezeAlign(vision_dim, text_dim, embed_dim, params.dropout, params.temperature)
    raise ValueError(f"head {spec.head!r} is not trained by gradients")
