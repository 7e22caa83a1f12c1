"""`views`: what is kept of an encoder's output, and of which input. A view is of the modality of its encoder.

A fused view is of none: it joins what other views keep.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Union

from pydantic import Field, ValidationInfo, model_validator

from pipeline.config.base import RECORDED, DeepPictures, Languages, Name, PositiveFloat, Section, Side, Tokens
from pipeline.config.encoders import EncoderSpec
from pipeline.config.further import FURTHER
from pipeline.config.view_base import FurtherView, View

Part = Annotated[float, Field(gt=0, le=1)]


class ImageView(View, DeepPictures):
    """What is kept of an image encoder's output.

    `resolution` is the side of its input in pixels. `fit: whole` resizes all of an image to the square that the encoder
    sees, as windows of a picture need it; `model` resizes and crops as the encoder's own library does.

    Tier `cls` keeps the CLS token and the mean of the patch tokens of each kept layer, `grid` adds the means over
    `grid` x `grid` regions, `full` every patch token. `crops` keeps the features of as many random crops of each image
    beside its own; each has a share of its area between the two of `crop_scale`.

    `bits: 12` says that samples of more than 8 bits go up to 4095, of PNG and TIFF files that state no range.
    """

    modality: Literal["image"] = "image"
    resolution: Side
    fit: Literal["model", "whole"] = "model"
    tier: Literal["cls", "grid", "full"] = "grid"
    grid: Annotated[int, Field(ge=1, le=256)] = 3
    crops: Annotated[int, Field(ge=0, le=1_000)] = 0
    crop_scale: tuple[Part, Part] = (0.4, 1.0)

    def compared(self, encoder: EncoderSpec) -> dict[str, Any]:
        """See `View`."""
        fields: dict[str, Any] = {
            "layers": list(encoder.layers),
            "resolution": self.resolution,
            "tier": self.tier,
            "grid": self.grid if self.tier == "grid" else None,
        }
        if self.crops:
            fields |= {"crops": self.crops, "crop_scale": list(self.crop_scale)}
        if self.fit != "model":
            fields["fit"] = self.fit
        if self.bits is not None:
            fields["bits"] = self.bits
        return fields

    @classmethod
    def from_compared(cls, compared: Mapping[str, Any]) -> "ImageView":
        """See `View`."""
        kept = {"encoder": "recorded", "dtype": compared["stored_dtype"], "fit": compared.get("fit", "model")}
        kept |= {"resolution": compared["resolution"], "tier": compared["tier"]}
        kept |= {"grid": compared["grid"]} if compared["grid"] is not None else {}
        if "crops" in compared:
            kept |= {"crops": compared["crops"], "crop_scale": tuple(compared["crop_scale"])}
        return cls(**kept, bits=compared.get("bits"))

    @model_validator(mode="after")
    def _effective(self) -> "ImageView":
        if self.tier != "grid":
            self.refuse(("grid",), f"regions are kept by `tier: grid`, and the tier is {self.tier}")
        if not self.crops:
            self.refuse(("crop_scale",), "no crop is kept; set `crops` to their number")
        if self.crop_scale[0] > self.crop_scale[1]:
            raise ValueError(f"crop_scale goes from {self.crop_scale[0]:g} down to {self.crop_scale[1]:g}")
        return self


class TextView(View):
    """What is kept of a text encoder's output.

    Texts are encoded in `languages`: English unless others are named, or `all` that the data has. Tier `pooled` keeps
    the sentence embedding, `full` adds every token. `max_tokens` cuts texts, special tokens included; `truncations`
    keeps an embedding for each of several lengths, and `chunk_tokens` one of the whole text, read in pieces of so many
    tokens. With `templates` a text is put in place of {} in each, and its embedding is the mean over them: prompt
    averaging as of class names (CLIP), for captions as well.
    """

    modality: Literal["text"] = "text"
    tier: Literal["pooled", "full"] = "pooled"
    max_tokens: Tokens | None = None
    truncations: tuple[Tokens, ...] = ()
    chunk_tokens: Tokens | None = None
    templates: tuple[str, ...] = ()
    languages: Annotated[Languages, Field(min_length=1)] | Literal["all"] = ("en",)

    def compared(self, encoder: EncoderSpec) -> dict[str, Any]:
        """See `View`."""
        fields: dict[str, Any] = {"prefix": encoder.prefix, "max_tokens": self.max_tokens}
        if encoder.prompt is not None:
            fields["prompt"] = encoder.prompt
        if self.tier == "full":
            fields["tokens"] = "last hidden state"
        if self.truncations:
            fields["truncations"] = list(self.truncations)
        if self.chunk_tokens:
            fields["chunk_tokens"] = self.chunk_tokens
        if self.templates:
            fields["templates"] = list(self.templates)
        return fields

    @classmethod
    def from_compared(cls, compared: Mapping[str, Any]) -> "TextView":
        """See `View`."""
        kept = {"encoder": "recorded", "dtype": compared["stored_dtype"], "max_tokens": compared["max_tokens"]}
        kept |= {key: tuple(compared.get(key) or ()) for key in ("truncations", "templates")}
        kept |= {"chunk_tokens": compared.get("chunk_tokens")}
        kept |= {"tier": "full"} if "tokens" in compared else {}
        return cls(**kept)

    @property
    def only(self) -> tuple[str, ...]:
        """The languages to encode; empty for all of them."""
        return () if self.languages == "all" else self.languages

    @model_validator(mode="after")
    def _lengths(self) -> "TextView":
        if list(self.truncations) != sorted(set(self.truncations)):
            raise ValueError(f"truncations must rise, each once, found {list(self.truncations)}")
        if self.max_tokens is not None and any(length > self.max_tokens for length in self.truncations):
            raise ValueError(f"truncations {list(self.truncations)} go beyond max_tokens {self.max_tokens}")
        if self.chunk_tokens is not None and self.max_tokens is not None and self.chunk_tokens >= self.max_tokens:
            raise ValueError(f"chunk_tokens {self.chunk_tokens} must be below max_tokens {self.max_tokens}")
        return self

    @model_validator(mode="after")
    def _of_templates(self) -> "TextView":
        for template in self.templates:
            if template.count("{}") != 1:
                raise ValueError(f"template {template!r} needs exactly one {{}}")
        if self.templates and (self.tier == "full" or self.truncations or self.chunk_tokens):
            raise ValueError("templates give one embedding per text; leave out tier full, truncations, chunk_tokens")
        return self


FUSED: Final = "fused"


class FusedView(Section):
    """Several stored views of one modality as one: their features side by side, brought to one scale.

    Each view is centred on the training split. By `scale: share` its rows are brought to a root mean square length of
    1, so that all views weigh the same; by `rms` its features are, so that a view weighs by its width; `whiten` takes
    correlations out, after `shrink` times the mean variance is added to every direction.
    """

    modality: Literal["fused"] = FUSED
    concat: Annotated[tuple[Name, ...], Field(min_length=2, max_length=64)]
    scale: Literal["share", "rms", "whiten"] = "share"
    shrink: PositiveFloat = 0.3

    @model_validator(mode="after")
    def _effective(self, info: ValidationInfo) -> "FusedView":
        if len(set(self.concat)) < len(self.concat):
            raise ValueError(f"concat names a view twice, found {', '.join(self.concat)}; name each once")
        if self.scale != "whiten" and info.context != RECORDED:
            self.refuse(("shrink",), f"it is of `scale: whiten`, and the scale is {self.scale}")
        return self


_FURTHER: dict[str, type[FurtherView]] = {name: modality.part("view") for name, modality in FURTHER.items()}
VIEWS: dict[str, type[ImageView] | type[TextView] | type[FurtherView]] = {
    "image": ImageView,
    "text": TextView,
    **_FURTHER,
}
if TYPE_CHECKING:
    AnyView = ImageView | TextView | FurtherView
    ViewSpec = AnyView
    StoredOrFused = AnyView | FusedView
else:
    AnyView = Union[tuple(VIEWS.values())]  # noqa: UP007
    ViewSpec = Annotated[AnyView, Field(discriminator="modality")]
    StoredOrFused = Annotated[AnyView | FusedView, Field(discriminator="modality")]
