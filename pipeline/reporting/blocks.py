"""The blocks of a section; page/blocks.html.j2 draws them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from markupsafe import Markup

Mark = Literal["right", "wrong", ""]
Content = str | Markup


@dataclass(frozen=True)
class Text:
    """A paragraph; `tone` is "plain", "note" (set apart) or "missing" (an input is missing)."""

    content: Content
    tone: Literal["plain", "note", "missing"] = "plain"
    kind: str = "text"


@dataclass(frozen=True)
class Bullets:
    """A list of sentences."""

    items: Sequence[Content]
    kind: str = "bullets"


@dataclass(frozen=True)
class Table:
    """A table. The first `headers` columns of each row are its headings; `source` names the file of the numbers."""

    caption: str
    source: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Content]]
    headers: int = 1
    kind: str = "table"


@dataclass(frozen=True)
class Figure:
    """A drawing, or several side by side, with a legend (CSS class of the series, name) and a caption."""

    drawings: Sequence[Markup]
    caption: Content
    legend: Sequence[tuple[str, str]] = ()
    kind: str = "figure"


@dataclass(frozen=True)
class Picture:
    """A picture as a data URI; correct ones have a green frame, wrong ones a red frame, both with a sign."""

    uri: str
    alt: str
    caption: str = ""
    mark: Mark = ""
    large: bool = False


@dataclass(frozen=True)
class Clip:
    """A sound as a data URI, with its waveform; marked as a picture is."""

    uri: str
    wave: Markup
    alt: str
    caption: str = ""
    mark: Mark = ""


@dataclass(frozen=True)
class Line:
    """An answer in words with its score, or a note."""

    text: str
    mark: Mark = ""
    score: str = ""
    language: str = ""


@dataclass(frozen=True)
class Card:
    """One example: a query and its answers."""

    title: str
    note: str = ""
    query: Picture | None = None
    pictures: Sequence[Picture] = ()
    lines: Sequence[Line] = ()
    legend: Sequence[tuple[str, str]] = ()  # colour, name
    passage: str = ""
    clip: Clip | None = None
    clips: Sequence[Clip] = ()


@dataclass(frozen=True)
class Gallery:
    """Examples side by side."""

    title: str
    cards: Sequence[Card]
    wide: bool = False
    kind: str = "gallery"


@dataclass(frozen=True)
class Tile:
    """A headline figure."""

    label: str
    value: Content
    note: Content


@dataclass(frozen=True)
class Tiles:
    """Headline figures in a row."""

    tiles: Sequence[Tile]
    kind: str = "tiles"


@dataclass(frozen=True)
class Code:
    """A text file, unchanged."""

    content: str
    label: str
    kind: str = "code"


@dataclass(frozen=True)
class Folded:
    """Blocks that are shown when their summary is pressed."""

    summary: str
    blocks: "Sequence[Block]"
    kind: str = "folded"


@dataclass(frozen=True)
class Heading:
    """A heading inside a section."""

    content: str
    kind: str = "heading"


Block = Text | Bullets | Table | Figure | Gallery | Tiles | Code | Folded | Heading


@dataclass(frozen=True)
class Section:
    """A part of the page: `name` is its anchor, `short` its entry in the table of contents."""

    name: str
    title: str
    short: str
    blocks: Sequence[Block] = field(default_factory=tuple)


def missing(what: str, command: str) -> Text:
    """Says that an input is missing, and which command makes it."""
    return Text(f"{what} Run: {command}", tone="missing")
