"""An index of flat cut-outs, each in a colour of its own, so that a picture shows which pixels are whose."""

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from pipeline.datasets.builder import IndexBuilder

NAMES = (
    *("anchor", "bridge", "candle", "daisy", "engine", "feather", "guitar", "hammer", "island", "jacket", "kettle"),
    *("ladder", "mirror", "needle", "oyster", "pencil", "quiver", "ribbon", "saddle", "teapot", "urn", "violin"),
)


def colour(number: int) -> tuple[int, int, int]:
    """A colour of its own for each number, away from every background."""
    return (40 + 5 * number, 20, 150 - 5 * number)


def shape(number: int, transparent: bool = True) -> bytes:
    """A flat shape on transparent or on its own ground."""
    image = Image.new("RGBA", (64, 64), (0, 0, 0, 0) if transparent else (*colour(number), 255))
    draw = ImageDraw.Draw(image)
    box = (4 + number % 5, 6, 40 + number % 17, 50)
    draw.ellipse(box, fill=(*colour(number), 255)) if number % 2 else draw.rectangle(box, fill=(*colour(number), 255))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def cut_outs(folder: Path, words: Sequence[str] = NAMES, mask: str | None = "alpha") -> Path:
    with IndexBuilder(folder) as builder:
        for word in words:
            number = NAMES.index(word) if word in NAMES else len(NAMES)
            image = builder.add_image(shape(number, mask is not None), word, mask=mask)
            builder.label(image, word, word, "tools" if number % 3 else "other")
            builder.link(image, builder.add_text(f"A {word}.", "en"), "en")
        builder.finish({"source": "made"})
    return folder
