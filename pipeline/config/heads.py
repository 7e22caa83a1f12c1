"""Heads: what lies between two frozen views, one model per `kind`; trained, computed, or nothing at all."""

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, model_validator

from pipeline.config.base import RECORDED, Name, Positive, PositiveFloat, Section, Width
from pipeline.config.closed_forms import FORM_KINDS, ClosedForm
from pipeline.config.losses import InfoNCELoss, LossSpec
from pipeline.config.training import LoadingChanges, TrainChanges

ImageVector = Literal["cls", "mean", "sum", "concat"]
LocalTokens = Literal["grid", "patch", "mean", "none"]


class Whitening(Section):
    """A fixed whitening of the inputs of a head, measured on the training split.

    `shrink` times the mean variance is added to every direction.
    """

    sides: Literal["image", "text", "both"] = "both"
    shrink: PositiveFloat = 0.3

    def of(self, side: str) -> bool:
        """Whether it whitens that side."""
        return self.sides in (side, "both")


class _Fitted(Section):
    """What every head that is fitted to features reads of them.

    `local_tokens`: region means, patch tokens, the mean patch token, or none. `layers` is how many of the last kept
    layers of the image view are joined; `crops` fits to the random crops that it keeps of each image as to further
    images. `text_tokens: full` takes every token of a text rather than its sentence embedding.
    """

    local_tokens: LocalTokens = "grid"
    layers: Positive = 1
    crops: bool = False
    text_tokens: Literal["pooled", "full"] = "pooled"
    whitening: Whitening | None = None

    @model_validator(mode="after")
    def _of_tokens(self) -> "_Fitted":
        if self.layers > 1 and self.local_tokens not in ("mean", "none"):
            raise ValueError("several layers are kept of cls and mean alone: set local_tokens to mean or none")
        if self.crops and self.local_tokens == "patch":
            raise ValueError("no patch tokens are kept of crops: set local_tokens to grid, mean or none")
        return self


class _OneVector(Section):
    """A head that takes one vector per image: CLS token, mean over local tokens, their sum, or both in a row."""

    image_input: ImageVector = "concat"

    @model_validator(mode="after")
    def _of_vectors(self) -> "_OneVector":
        if getattr(self, "local_tokens", None) == "none" and self.image_input != "cls":
            raise ValueError(f"image_input {self.image_input} takes local tokens; with local_tokens none it is cls")
        return self


class _Trained(_Fitted):
    """A head that is trained by gradients; `train` changes keys of the section `train` for it."""

    embed_dim: Width | None = None
    loss: LossSpec = InfoNCELoss()
    train: TrainChanges = TrainChanges()

    @model_validator(mode="after")
    def _of_loss(self) -> "_Trained":
        if self.loss.patch_text and self.local_tokens not in ("grid", "patch"):
            raise ValueError("loss.patch_text compares texts with local tokens: set local_tokens to grid or patch")
        if self.loss.mixup and self.text_tokens == "full":
            raise ValueError("loss.mixup mixes sentence embeddings: set text_tokens: pooled")
        return self


class FreezeAlignHead(_Trained):
    """The paper's projectors: of CLS tokens, of local tokens, of text tokens."""

    kind: Literal["freeze-align"]


class LinearHead(_Trained, _OneVector):
    """A linear map per side; `init` starts it from a closed form."""

    kind: Literal["linear"]
    init: Literal["random", "procrustes", "ridge", "cca"] = "random"

    @model_validator(mode="after")
    def _of_init(self) -> "LinearHead":
        whitened = self.whitening is not None and self.whitening.of("image")
        if self.init != "random" and self.image_input == "sum" and whitened:
            raise ValueError("the sum of two whitened vectors has no linear map to start from: set image_input: concat")
        return self


class NetworkHead(_Trained, _OneVector):
    """A network per side: an MLP, SAIL's gated unit, FuseMix's inverted bottlenecks, STRUCTURE's gated low-rank map."""

    kind: Literal["mlp", "gated-unit", "inverted-bottleneck", "gated-low-rank"]


class ClosedFormHead(_Fitted, _OneVector):
    """A head that is computed; of several `forms` the cosines add.

    The name of a form says its kind, unless it has a `kind`.
    """

    kind: Literal["closed-form"]
    forms: Annotated[dict[Name, ClosedForm], Field(min_length=1)]
    train: LoadingChanges = LoadingChanges()

    @model_validator(mode="after")
    def _effective(self, info: ValidationInfo) -> "ClosedFormHead":
        for name, form in self.forms.items():
            if name in FORM_KINDS and form.kind != name:
                raise ValueError(f"form {name!r} is of kind {form.kind}: give it another name")
            if len(self.forms) == 1 and "weight" in form.model_fields_set and info.context != RECORDED:
                raise ValueError(f"`weight` of {name!r} would have no effect: it is the only form")
        if self.whitening is not None and all(form.kind == "cca" for form in self.forms.values()):
            raise ValueError("`whitening` would have no effect: cca whitens by its own `shrink`")
        return self


class IdentityHead(Section):
    """Trains nothing: the views are the two towers of a dual encoder, whose features are only brought to unit length.

    They must be of one model, unless `two_models` says that both models share a space.
    """

    kind: Literal["identity"]
    two_models: bool = False


TrainedHead = FreezeAlignHead | LinearHead | NetworkHead
FittedHead = TrainedHead | ClosedFormHead
AnyHead = FittedHead | IdentityHead
HeadSpec = Annotated[AnyHead, Field(discriminator="kind")]
TRAINED = (FreezeAlignHead, LinearHead, NetworkHead)
