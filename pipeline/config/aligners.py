"""`aligners`: two views and the head between them; and `dense_heads`, from patch tokens to texts."""

from typing import Annotated, Any, Final, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from pipeline.config.base import Name, Once, PositiveFloat, Section, Width
from pipeline.config.encoders import Modality
from pipeline.config.heads import AnyHead, HeadSpec, IdentityHead
from pipeline.config.views import FusedView

Side = Literal["image", "text"]
NO_DATA = "none"  # what head identity is fitted to
MASKS: Final = "masks"  # what dense heads learn from unless their entry says otherwise
CAPTIONS: Final = "captions"
MASK_SUPERVISED = "mask-supervised"  # segmentation by a dense head that is fitted to exact masks
CAPTION_SUPERVISED = "caption-supervised"  # by one that is fitted to captions of scenes alone
METHODS = (MASK_SUPERVISED, CAPTION_SUPERVISED)  # rows `<aligner>-<method>` beside that of the aligner's own head


def with_method(aligner: str, method: str) -> str:
    """The name of a row: the aligner, or `<aligner>-<method>` for one of its further methods."""
    return f"{aligner}-{method}" if method else aligner


def split_method(row: str) -> tuple[str, str]:
    """Aligner and method of a row; the method of its own head is ""."""
    for method in METHODS:
        if row.endswith(f"-{method}"):
            return row.removesuffix(f"-{method}"), method
    return row, ""


AUTO = "auto"  # in place of a view that a comparison chooses


class EvaluationViews(Section):
    """Other views of an aligner's encoders, through which it is evaluated; nothing here is read when it is fitted.

    `dense` is a view of the image encoder with every patch token, through which scenes are seen; `dense_head` and
    `caption_head` are heads through which it segments, fitted to masks and to captions; `long_text` is a view of the
    text encoder with truncations.
    """

    dense: Name | None = None
    dense_head: Name | None = None
    caption_head: Name | None = None
    long_text: Name | None = None

    @model_validator(mode="after")
    def _complete(self) -> "EvaluationViews":
        for key in ("dense_head", "caption_head"):
            if getattr(self, key) is not None and self.dense is None:
                raise ValueError(f"{key} needs `dense`, the view through which it sees pictures")
        return self


class AlignerSpec(Section):
    """Two views, a selection of training samples, and the head between the views.

    `views` names two views of two modalities: pictures before sounds, and both before texts. `data` is an entry of
    `curations` of the first one's modality, to whose samples the head is fitted, or none for head identity. `kinds`
    leaves sounds of other kinds out of the fit, such as [effect]; all where it is empty.
    """

    views: tuple[Name, Name]
    data: Name
    head: HeadSpec
    evaluation: EvaluationViews = EvaluationViews()
    kinds: Annotated[tuple[str, ...], Once] = ()

    @model_validator(mode="after")
    def _coherent(self) -> "AlignerSpec":
        evaluation = self.evaluation
        if isinstance(self.head, IdentityHead) != (self.data == NO_DATA):
            written = f"head {self.head.kind} with data: {self.data}"
            raise ValueError(f"head identity is fitted to `data: none`, other heads to a curation; found {written}")
        if isinstance(self.head, IdentityHead) and (evaluation.dense or evaluation.dense_head):
            raise ValueError("head identity takes one vector per image; leave out evaluation.dense and its heads")
        if not isinstance(self.head, IdentityHead):
            if self.head.layers > 1 and evaluation.dense is not None:
                raise ValueError("patch tokens are kept of one layer: leave out evaluation.dense, or set layers: 1")
            if self.head.text_tokens == "full" and evaluation.long_text is not None:
                raise ValueError("evaluation.long_text keeps sentence embeddings of cut texts: set text_tokens: pooled")
        return self


class ChosenAligner(AlignerSpec):
    """An entry of `auto` as an aligner: `auto` stands for the views that comparison `compare` chooses."""

    compare: Name


class AutoSpec(Section):
    """An aligner whose views a comparison chooses.

    `compare` names the comparison; its best pair of views is taken, or its best pair with the view given as `image` or
    `text`. The rest is as for `aligners`.
    """

    compare: Name
    image: Name | None = None
    text: Name | None = None
    data: Name
    head: HeadSpec
    evaluation: EvaluationViews = EvaluationViews()

    @model_validator(mode="after")
    def _open(self) -> "AutoSpec":
        if isinstance(self.head, IdentityHead):
            raise ValueError("head identity joins the two towers of one model; name them under `aligners`")
        if "views" in getattr(self.head, "forms", {}):
            raise ValueError("a form under `auto` cannot be called views, where the choice of views is recorded")
        if self.image is not None and self.text is not None:
            raise ValueError("image and text are both given, which leaves nothing to choose; write it under `aligners`")
        return self

    def aligner(self) -> ChosenAligner:
        """The same as an aligner whose views are still open."""
        views = (self.image or AUTO, self.text or AUTO)
        return ChosenAligner(
            views=views, compare=self.compare, data=self.data, head=self.head, evaluation=self.evaluation
        )

    def candidates(self, images: tuple[str, ...], texts: tuple[str, ...]) -> list[tuple[str, str]]:
        """The pairs of views that may be chosen, of the views that are compared."""
        return [
            (image, text)
            for image in images
            for text in texts
            if self.image in (None, image) and self.text in (None, text)
        ]


class FitSpec(Section):
    """What fitting an aligner reads of params.yaml, names resolved.

    `datasets` is the pool of the curation `data`, in its order; of head identity what is stored through both views.
    `compare` names the comparison that chooses the views called `auto`; None where the views are named. `fusions` says
    what a side joins whose view is a fused one. The sides are places: `modalities` says what stands there where that is
    not what the side is called. `kinds` are those of the sounds that count; all where it is empty. `space` is an
    aligner whose vectors of the second side stand still; None where both sides are fitted.
    """

    image: Name
    text: Name
    datasets: tuple[Name, ...]
    data: Name
    head: HeadSpec
    compare: Name | None = None
    fusions: dict[Side, FusedView] = {}
    modalities: dict[Side, Modality] = {}
    kinds: tuple[str, ...] = ()
    space: Name | None = None

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        out: dict[str, Any] = write(self)
        for key in ("modalities", "kinds", "space"):  # absent where they have their default, as in earlier settings
            if not getattr(self, key):
                out.pop(key, None)
        return out

    def modality(self, side: Side) -> Modality:
        """What stands on a side."""
        return self.modalities.get(side, side)

    @property
    def sides(self) -> dict[str, Side]:
        """The side of each modality."""
        return {self.modality("image"): "image", self.modality("text"): "text"}

    def members(self, side: Side) -> tuple[str, ...]:
        """The stored views of one side, in order: several where it is fused."""
        fused = self.fusions.get(side)
        return (self.image if side == "image" else self.text,) if fused is None else fused.concat

    @property
    def local_tokens(self) -> str:
        """The local tokens that the head reads; "none" for head identity."""
        return "none" if isinstance(self.head, IdentityHead) else self.head.local_tokens

    @property
    def text_tokens(self) -> str:
        """What the head reads of texts: "pooled" or "full"."""
        return "pooled" if isinstance(self.head, IdentityHead) else self.head.text_tokens


class EvaluatedAligner(Section):
    """A fitted aligner and the views through which it is evaluated."""

    fit: FitSpec
    evaluation: EvaluationViews = EvaluationViews()

    @property
    def head(self) -> AnyHead:
        """The head's entry."""
        return self.fit.head

    @property
    def scenes(self) -> Name | None:
        """The view through which whole scenes are seen: `dense`, or for head identity the image view itself."""
        identity = isinstance(self.fit.head, IdentityHead) and self.evaluation.long_text is not None
        return self.fit.image if identity else self.evaluation.dense


class _DenseHead(Section):
    """A head from patch tokens to texts, fitted in closed form to composed training scenes.

    `image` is a view of tier full, `text` a view of texts, `scenes` an entry of `scenes` for training; an aligner uses
    the head through the same views. `regularisation` is that of ridge regression, relative to the mean variance of a
    feature.
    """

    image: Name
    text: Name
    scenes: Name
    regularisation: PositiveFloat = 0.3


class DenseHeadSpec(_DenseHead):
    """Fitted to the objects of the scenes by their exact masks."""

    supervision: Literal["masks"] = MASKS


class CaptionHeadSpec(_DenseHead):
    """Fitted without masks: each scene has a caption for each of its objects, and nothing says where these are.

    `iterations` times captions take the patches that fit them, at a softmax `temperature`, and ridge regression of
    strength `matching` learns anew from these; in it texts are their `directions` leading principal components.
    """

    supervision: Literal["captions"]
    iterations: Annotated[int, Field(ge=1, le=100_000)] = 10
    temperature: PositiveFloat = 0.05
    matching: PositiveFloat = 0.03
    directions: Width = 128


AnyDenseHead = Annotated[DenseHeadSpec | CaptionHeadSpec, Field(discriminator="supervision")]
