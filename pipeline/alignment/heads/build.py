"""Trained heads by kind: what the `head` of an aligner in params.yaml means."""

from collections.abc import Callable

from torch import nn

from pipeline.alignment.heads.base import Head
from pipeline.alignment.heads.freeze_align import FreezeAlign
from pipeline.alignment.heads.networks import MLP, GatedLowRank, GatedUnit, InvertedBottleneck
from pipeline.alignment.heads.two_networks import TwoNetworks
from pipeline.alignment.heads.vectors import image_width
from pipeline.config import FreezeAlignHead, SigmoidLoss, TrainedHead

Network = Callable[[int, int, float], nn.Module]

NETWORKS: dict[str, Network] = {
    "linear": lambda d_in, d_out, dropout: nn.Sequential(nn.Dropout(dropout), nn.Linear(d_in, d_out)),
    "mlp": MLP,
    "gated-unit": GatedUnit,
    "inverted-bottleneck": InvertedBottleneck,
    "gated-low-rank": GatedLowRank,
}


def build_head(
    spec: TrainedHead, vision_dim: int, text_dim: int, dropout: float = 0.0, temperature: float = 0.07
) -> Head:
    """A head with random weights from torch's generator, on torch's default device.

    Args:
        spec: its kind, width, inputs and loss; `whitening` is not part of it (see `initial_head`).
        vision_dim, text_dim: widths of the features.
    """
    embed_dim = spec.embed_dim or text_dim
    bias = spec.loss.bias if isinstance(spec.loss, SigmoidLoss) else None
    if isinstance(spec, FreezeAlignHead):
        local = spec.local_tokens != "none"
        return FreezeAlign(vision_dim, text_dim, embed_dim, dropout, temperature, bias, local)
    network = NETWORKS[spec.kind]
    image = network(image_width(vision_dim, spec.image_input), embed_dim, dropout)
    text = network(text_dim, embed_dim, dropout)
    return TwoNetworks(spec.image_input, image, text, temperature, bias)
