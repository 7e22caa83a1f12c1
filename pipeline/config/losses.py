"""Losses of trained heads, one model per `kind`."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.base import NonNegativeFloat, Positive, PositiveFloat, Section, Share


class StructureTerm(Section):
    """STRUCTURE's regulariser: keeps the neighbourhoods of each side as they were before the head.

    Its `weight` grows over the share `warmup` of the steps.
    """

    weight: PositiveFloat = 1.0
    temperature: PositiveFloat = 0.05
    levels: Annotated[int, Field(ge=1, le=100)] = 1
    warmup: Share = 0.1


class _Loss(Section):
    """What every loss has.

    `positives`: what counts as right beside the pair itself: nothing (`own`), every caption that some pair joins with
    the image (`pairs`), or every one of the same concept (`concept`). Above `chunk_rows` pairs the matrix of
    similarities is computed so many rows at a time; on a CPU, in smaller blocks.

    `structure` is an added term; `patch_text` the weight of one that compares texts with local tokens. `mixup` is the
    parameter of the Beta distribution by which pairs are mixed (FuseMix; 0 for none), `noise` the size of Gaussian
    noise on features, in units of their root mean square.
    """

    positives: Literal["own", "pairs", "concept"] = "pairs"
    chunk_rows: Positive = 2048
    structure: StructureTerm | None = None
    patch_text: NonNegativeFloat = 0.0
    mixup: NonNegativeFloat = 0.0
    noise: NonNegativeFloat = 0.0


class InfoNCELoss(_Loss):
    """InfoNCE, as in CLIP."""

    kind: Literal["info-nce"] = "info-nce"


class SigmoidLoss(_Loss):
    """SigLIP's loss, divided by the pairs of the batch squared (`pairs`, as SAIL does) or by their number (`batch`).

    `bias` is where its bias starts.
    """

    kind: Literal["sigmoid"]
    normalise: Literal["batch", "pairs"] = "pairs"
    bias: Annotated[float, Field(ge=-1e6, le=1e6)] = -10.0


AnyLoss = InfoNCELoss | SigmoidLoss
LossSpec = Annotated[AnyLoss, Field(discriminator="kind")]
