"""Modalities beside pictures and texts: an entry for each says what it is called and which module of each room has it.

Each room asks its own module of an entry for what it needs, so that what is not used is not imported. The names that a
module must have are those of the protocols `pipeline.datasets.further.Reader`, `pipeline.encoders.further.Towers` and
`pipeline.encoding.further.RowsOf`; its view is a `FurtherView`.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final


@dataclass(frozen=True)
class FurtherModality:
    """A modality beside pictures and texts.

    Attributes:
        called: what a sample is called; with an s, several.
        loaders: of its encoders; of the first ones models have weights.
        told: a key that only its views have, by which a view tells its modality.
        view: module and class of its view, as are modules of the rooms:
        reader: of datasets: what samples are, checked and described in a table.
        towers: of encoders: how a checkpoint is described, and which ones packages carry or need no weights.
        rows: of encoding: the rows of a view, and what encodes them.
    """

    called: str
    loaders: tuple[str, ...]
    told: str
    view: str
    reader: str
    towers: str
    rows: str

    def part(self, name: str) -> Any:
        """The module, or what is behind a colon in it, that an attribute names."""
        module, _, inside = str(getattr(self, name)).partition(":")
        found = import_module(f"{__name__.partition('.')[0]}.{module}")  # the wheel has another name
        return getattr(found, inside) if inside else found


FURTHER: Final[dict[str, FurtherModality]] = {
    "audio": FurtherModality(
        called="sound",
        loaders=("transformers", "log-mel"),
        told="seconds",
        view="config.audio_view:AudioView",
        reader="datasets.audio.reader",
        towers="encoders.audio",
        rows="encoding.audio",
    ),
    "video": FurtherModality(
        called="video",
        loaders=("transformers", "timm", "statistics"),
        told="frames",
        view="config.video_view:VideoView",
        reader="datasets.video",
        towers="encoders.video",
        rows="encoding.video",
    ),
}
WITHOUT_WEIGHTS: Final = ("log-mel", "statistics")  # loaders of encoders in which nothing is learnt
