"""Videos for tests: a square that moves over a ground, whose colours and way are told by its caption."""

import io
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageDraw

COLOURS = {
    **{"red": (220, 20, 30), "green": (30, 170, 60), "blue": (30, 60, 220), "yellow": (240, 210, 40)},
    **{"purple": (140, 40, 160), "orange": (250, 140, 20), "black": (10, 10, 10), "white": (245, 245, 245)},
}
WAYS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
SIDE, FRAMES = 48, 8


def frames(colour: str, way: str, ground: str = "grey", count: int = FRAMES) -> list[Image.Image]:
    across, down = WAYS[way]
    out = []
    for step in range(count):
        image = Image.new("RGB", (SIDE, SIDE), ground)
        x, y = (SIDE // 2 + move * (step * 4 - 14) - 6 for move in (across, down))
        ImageDraw.Draw(image).rectangle((x, y, x + 12, y + 12), fill=COLOURS[colour])
        out.append(image)
    return out


def encoded(film: list[Image.Image], form: str = "GIF", milliseconds: int = 40) -> bytes:
    """As a file; WebP and PNG keep every value."""
    out = io.BytesIO()
    options = {"lossless": True} if form == "WEBP" else {}
    film[0].save(out, form, save_all=True, append_images=film[1:], duration=milliseconds, loop=0, **options)
    return out.getvalue()


def films() -> Iterator[tuple[str, str, list[Image.Image]]]:
    """Name, caption and frames."""
    for ground in ("grey", "white", "navy"):
        for colour in COLOURS:
            for way in WAYS:
                yield (
                    f"{ground}-{colour}-{way}",
                    f"a {colour} square moves {way} over {ground}",
                    frames(colour, way, ground),
                )


def write(folder: Path) -> int:
    """A folder of animated PNGs with captions.csv; returns how many."""
    folder.mkdir(parents=True)
    lines = ["video,caption,concept"]
    for name, caption, film in films():
        (folder / f"{name}.png").write_bytes(encoded(film, "PNG"))
        lines.append(f"{name}.png,{caption},{name}")
    (folder / "captions.csv").write_text("\n".join(lines) + "\n")
    return len(lines) - 1
