"""Heads: what lies between two frozen views, one model per `kind`; trained, computed, one of both, or nothing."""

import math
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, model_validator

from pipeline.config.base import RECORDED, Name, Positive, PositiveFloat, Section, Width
from pipeline.config.closed_forms import CCA, FORM_KINDS, ClosedForm, KernelRidge
from pipeline.config.losses import InfoNCELoss, LossSpec
from pipeline.config.training import LoadingChanges, TrainChanges

ImageVector = Literal["cls", "mean", "sum", "concat"]
LocalTokens = Literal["grid", "patch", "mean", "none"]
_CHOICES = {"head", "views"}  # under these, a saved head records what was chosen


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
TRAINED = (FreezeAlignHead, LinearHead, NetworkHead)


class AutoHead(Section):
    """The head that the number of training pairs chooses: `computed`, or `trained` from so many per feature on.

    The features are those of both views together. Both heads read the same ones. The least number of pairs of all
    repeats counts, so that all have a head of one kind.
    """

    kind: Literal["auto"]
    pairs_per_feature: PositiveFloat = 10.0
    computed: ClosedFormHead = ClosedFormHead(
        kind="closed-form",
        local_tokens="mean",
        forms={"cca": CCA(kind="cca", shrink=(1.0,)), "kernel-ridge": KernelRidge(kind="kernel-ridge")},
    )
    trained: Annotated[TrainedHead, Field(discriminator="kind")] = NetworkHead(kind="mlp", local_tokens="mean")

    @model_validator(mode="after")
    def _alike(self, info: ValidationInfo) -> "AutoHead":
        for key in ("local_tokens", "layers", "crops", "text_tokens"):
            one, other = getattr(self.computed, key), getattr(self.trained, key)
            if one != other:
                raise ValueError(f"computed and trained read the same features, found {key} {one!r} and {other!r}")
        for name in _CHOICES.intersection(self.computed.forms):
            raise ValueError(f"a form of computed cannot be called {name}, where choices are recorded")
        if info.context != RECORDED:
            self.computed.refuse(("train",), "write it under `trained`, whose loading both use")
        return self

    @property
    def local_tokens(self) -> LocalTokens:
        """The local tokens that either head reads; so are the next."""
        return self.computed.local_tokens

    @property
    def layers(self) -> int:
        """How many of the last kept layers are joined."""
        return self.computed.layers

    @property
    def crops(self) -> bool:
        """Whether kept crops count as further images."""
        return self.computed.crops

    @property
    def text_tokens(self) -> Literal["pooled", "full"]:
        """What is read of texts."""
        return self.computed.text_tokens

    @property
    def train(self) -> TrainChanges:
        """What changes of the section `train`."""
        return self.trained.train

    def taken(self, pairs: int, features: int) -> Literal["computed", "trained"]:
        """Which of the two it is for so many training pairs of so many features of both views together."""
        return "computed" if pairs < self.trained_from(features) else "trained"

    def trained_from(self, features: int) -> int:
        """The least number of training pairs for which it is the trained one."""
        return math.ceil(round(self.pairs_per_feature * features, 6))


AnyHead = FittedHead | AutoHead | IdentityHead
HeadSpec = Annotated[AnyHead, Field(discriminator="kind")]
OPTIMISED = (*TRAINED, AutoHead)  # what the section `train` is for
