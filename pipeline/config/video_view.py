"""Views of videos."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from pipeline.config.base import Side
from pipeline.config.view_base import FurtherView


class VideoView(FurtherView):
    """What is kept of an encoder of videos: it sees so many `frames`, evenly spread, each of `resolution` pixels.

    Tier `pooled` keeps one vector and the mean over all patches, `grid` adds the means over `grid` equal parts of the
    time, `full` a vector for each time step that the encoder tells apart.
    """

    OWN: ClassVar[tuple[str, ...]] = ("frames", "resolution")
    PARTS: ClassVar[str] = "parts of the time"

    modality: Literal["video"] = "video"
    frames: Annotated[int, Field(ge=1, le=1_024)]
    resolution: Side = 224
