"""Closed forms: heads that are computed, one model per `kind`."""

from typing import Annotated, Literal, get_args

from pydantic import Field, ValidationInfo, model_validator

from pipeline.config.base import (
    RECORDED,
    NonNegativeValues,
    PositiveCounts,
    PositiveFloat,
    PositiveValues,
    Section,
    Width,
)

Direction = Literal["image-to-text", "text-to-image"]


class _Form(Section):
    """Of several forms in a head the cosines add, each times its `weight`.

    Where several values may be given, validation recall chooses among them.
    """

    weight: PositiveFloat = 1.0


class Procrustes(_Form):
    """Orthogonal maps into `embed_dim` dimensions, by default as many as the narrower side has."""

    kind: Literal["procrustes"]
    embed_dim: Width | None = None


class Ridge(_Form):
    """Linear regression of one side on the other; `ridge` is the penalty."""

    kind: Literal["ridge"]
    direction: Direction = "image-to-text"
    ridge: PositiveValues = (0.3,)


class CCA(_Form):
    """Canonical correlations, weighted by a `power` of theirs.

    `shrink` is added to every variance before whitening, in units of the mean variance.
    """

    kind: Literal["cca"]
    embed_dim: Width | None = None
    shrink: PositiveValues = (0.3,)
    power: NonNegativeValues = (1.0,)


class ASIF(_Form):
    """Similarities to training pairs, the `neighbours` largest to the power `exponent`."""

    kind: Literal["asif"]
    neighbours: PositiveCounts = (400,)
    exponent: PositiveValues = (8.0,)


class KernelRidge(_Form):
    """Ridge regression with a Gaussian kernel of a `bandwidth` in units of the mean squared distance.

    `features: exact` keeps every training image and costs their number cubed; `fourier` takes `size` random Fourier
    features, `nystrom` as many landmarks, and both stream. `auto` is exact up to as many images as that is meant for,
    and nystrom beyond; which of them it was is saved with the head.
    """

    kind: Literal["kernel-ridge"]
    direction: Direction = "image-to-text"
    features: Literal["auto", "exact", "fourier", "nystrom"] = "auto"
    size: Annotated[int, Field(ge=1, le=131_072)] = 2048
    ridge: PositiveValues = (0.3,)
    bandwidth: PositiveValues = (1.0,)

    @model_validator(mode="after")
    def _effective(self, info: ValidationInfo) -> "KernelRidge":
        if self.features == "exact" and info.context != RECORDED:
            self.refuse(("size",), "an exact kernel has as many features as there are images")
        return self


AnyForm = Procrustes | Ridge | CCA | ASIF | KernelRidge
ClosedForm = Annotated[AnyForm, Field(discriminator="kind")]
FORM_KINDS = tuple(kind for form in get_args(AnyForm) for kind in get_args(form.model_fields["kind"].annotation))
