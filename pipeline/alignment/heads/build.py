"""Heads by name: what `head` of an aligner in params.yaml means."""

from collections.abc import Callable

from torch import nn

from pipeline.alignment.heads.base import Head
from pipeline.alignment.heads.ensemble import Ensemble
from pipeline.alignment.heads.fitted import RBF, Affine, Fourier, Relative
from pipeline.alignment.heads.freeze_align import FreezeAlign
from pipeline.alignment.heads.networks import MLP, GatedLowRank, GatedUnit, InvertedBottleneck
from pipeline.alignment.heads.two_networks import TwoNetworks
from pipeline.alignment.heads.vectors import image_width
from pipeline.alignment.heads.whitened import Whitened
from pipeline.config import AlignerSpec, ClosedForm, TrainParams

Network = Callable[[int, int, float], nn.Module]

NETWORKS: dict[str, Network] = {
    "linear": lambda d_in, d_out, dropout: nn.Sequential(nn.Dropout(dropout), nn.Linear(d_in, d_out)),
    "mlp": MLP,
    "gated-unit": GatedUnit,
    "inverted-bottleneck": InvertedBottleneck,
    "gated-low-rank": GatedLowRank,
}


def build_head(spec: AlignerSpec, vision_dim: int, text_dim: int, params: TrainParams) -> Head:
    """A head with random weights from torch's generator, on torch's default device.

    Args:
        spec: its head, width, inputs and loss; what `whiten` asks for is not part of it (see `initial_head`).
        vision_dim, text_dim: widths of the features.
        params: its dropout and temperature.

    Raises:
        ValueError: the head is not trained by gradients.
    """
    embed_dim = spec.embed_dim or text_dim
    bias = spec.loss.bias if spec.loss.kind == "sigmoid" else None
    if spec.head == "freeze-align":
        local = spec.local_tokens != "none"
        return FreezeAlign(vision_dim, text_dim, embed_dim, params.dropout, params.temperature, bias, local)
    if spec.head not in NETWORKS:
        raise ValueError(f"head {spec.head!r} is not trained by gradients")
    network = NETWORKS[spec.head]
    image = network(image_width(vision_dim, spec.image_input), embed_dim, params.dropout)
    text = network(text_dim, embed_dim, params.dropout)
    return TwoNetworks(spec.image_input, image, text, params.temperature, bias)


def empty_head(spec: AlignerSpec, vision_dim: int, text_dim: int) -> Head:
    """The head of `spec` to load saved weights into, without dropout.

    Args:
        spec: as it was when the head was made.
        vision_dim, text_dim: widths of the features.
    """
    if spec.head == "closed":
        members = [empty_form(form, spec) for form in spec.closed]
        return members[0] if len(members) == 1 else Ensemble(members, [form.weight for form in spec.closed])
    head = build_head(spec, vision_dim, text_dim, TrainParams(dropout=0.0))
    if spec.whiten == "none":
        return head
    image = (Affine(), Affine()) if spec.whiten in ("image", "both") else None
    return Whitened(head, image, Affine() if spec.whiten in ("text", "both") else None)


def empty_form(form: ClosedForm, spec: AlignerSpec) -> Head:
    """The head of one closed form, with nothing in it yet."""
    plain, mapped = nn.Sequential(Affine()), _nonlinear(form)
    if form.form == "asif":
        sides = [nn.Sequential(Affine(), Relative()) for _ in range(2)]
    elif form.form == "kernel-ridge":
        sides = [mapped, plain] if form.direction == "image-to-text" else [plain, mapped]
    else:
        sides = [plain, nn.Sequential(Affine())]
    return TwoNetworks(spec.image_input, sides[0], sides[1])


def _nonlinear(form: ClosedForm) -> nn.Sequential:
    """Centring or whitening, features of the kernel, and their weights."""
    return nn.Sequential(Affine(), Fourier() if form.features == "fourier" else RBF(), Affine())
