"""Views of sounds."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field

from pipeline.config.encoders import EncoderSpec
from pipeline.config.view_base import FurtherView

Seconds = Annotated[float, Field(ge=0.1, le=600)]
RESAMPLING: Final = "polyphase"  # how sounds come to the rate of an encoder; part of every fingerprint


class AudioView(FurtherView):
    """What is kept of an audio encoder's output.

    The encoder hears windows of so many `seconds`, one after another, up to `windows` of a clip; what lies behind them
    is not read. With `rows: clip` a clip is one row, its windows pooled by their frames; with `rows: window` each
    window is a row of its own, for search in long recordings.

    Tier `pooled` keeps one vector and the mean over frames of each kept layer, `grid` adds the means over `grid` equal
    parts of the time, `full` every frame. Frames that are padding are part of nothing that is kept.
    """

    OWN: ClassVar[tuple[str, ...]] = ("seconds", "windows")
    PARTS: ClassVar[str] = "parts of the time"

    modality: Literal["audio"] = "audio"
    seconds: Seconds
    windows: Annotated[int, Field(ge=1, le=100_000)] = 6
    rows: Literal["clip", "window"] = "clip"

    def compared(self, encoder: EncoderSpec) -> dict[str, Any]:
        """See `View`."""
        fields = super().compared(encoder) | {"resampling": RESAMPLING}
        return fields | ({"rows": self.rows} if self.rows != "clip" else {})

    @classmethod
    def from_compared(cls, compared: Mapping[str, Any]) -> "AudioView":
        """See `View`."""
        view = super().from_compared(compared)
        return (
            view if "rows" not in compared else cls(**view.model_dump(exclude_unset=True) | {"rows": compared["rows"]})
        )
