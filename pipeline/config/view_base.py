"""What all views have in common, and those of the modalities beside pictures and texts."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from pipeline.config.base import Name, Section
from pipeline.config.encoders import EncoderSpec


class View(Section):
    """A view: which encoder, and how features are stored."""

    encoder: Name
    dtype: Literal["float16", "float32", "int8"] = "float16"

    def compared(self, encoder: EncoderSpec) -> dict[str, Any]:
        """What of this view and of its kind of encoder decides a feature: fields of the fingerprint.

        A field that was added later is absent where it has its default, so that stores keep the fingerprint they had.
        """
        raise NotImplementedError

    @classmethod
    def from_compared(cls, compared: Mapping[str, Any]) -> Self:
        """The view whose features have these fields, of an encoder called "recorded".

        Raises:
            KeyError, TypeError, pydantic.ValidationError: they are not those of such a view.
        """
        raise NotImplementedError


class FurtherView(View):
    """What is kept of samples that go on in time or in other parts, such as frames.

    Tier `pooled` keeps one vector and the mean over parts of each kept layer, `grid` adds the means over `grid` equal
    shares of the parts in their order, `full` every part.

    Attributes:
        OWN: fields of a modality's own that decide a feature.
        PARTS: what is said of the shares that `grid` keeps.
    """

    OWN: ClassVar[tuple[str, ...]] = ()
    PARTS: ClassVar[str] = "parts"

    modality: str
    tier: Literal["pooled", "grid", "full"] = "pooled"
    grid: Annotated[int, Field(ge=1, le=256)] = 4

    def compared(self, encoder: EncoderSpec) -> dict[str, Any]:
        """See `View`."""
        own = {name: getattr(self, name) for name in self.OWN}
        grid = self.grid if self.tier == "grid" else None
        return {"layers": list(encoder.layers), **own, "tier": self.tier, "grid": grid}

    @classmethod
    def from_compared(cls, compared: Mapping[str, Any]) -> Self:
        """See `View`."""
        kept = {"encoder": "recorded", "dtype": compared["stored_dtype"]}
        kept |= {key: compared[key] for key in (*cls.OWN, "tier")}
        return cls(**kept | ({"grid": compared["grid"]} if compared["grid"] is not None else {}))

    @model_validator(mode="after")
    def _of_tier(self) -> Self:
        if self.tier != "grid":
            self.refuse(("grid",), f"{self.PARTS} are kept by `tier: grid`, and the tier is {self.tier}")
        return self
