"""Pictures of the embedded data sets: rendered, trimmed, centred on a transparent square, written as PNG."""

import io
import math

from PIL import Image

MARGIN = 0.05  # of the longer side of what is drawn, on each side
_VISIBLE = 8  # alpha (of 255) below which a pixel counts as empty when trimming


def from_svg(svg: str, size: int) -> Image.Image:
    """Render vector graphics `size` pixels wide, RGBA.

    System fonts are left out: a picture must not depend on the machine.

    Raises:
        ValueError: the graphics cannot be read.
    """
    import resvg_py

    png = resvg_py.svg_to_bytes(svg_string=svg, width=size, skip_system_fonts=True)
    return from_raster(bytes(png))


def from_raster(content: bytes) -> Image.Image:
    """Decode PNG or WebP bytes as RGBA.

    Raises:
        OSError: the bytes are no picture.
    """
    with Image.open(io.BytesIO(content)) as image:
        return image.convert("RGBA")


def squared(image: Image.Image, size: int) -> bytes:
    """PNG bytes of `image` (RGBA) trimmed to what is visible, on a transparent square of `size` x `size` pixels.

    Raises:
        ValueError: nothing is visible.
    """
    box = image.getchannel("A").point(lambda alpha: 255 if alpha > _VISIBLE else 0).getbbox()
    if box is None:
        raise ValueError("nothing is visible")
    drawn = image.crop(box)
    side = math.ceil(max(drawn.size) * (1 + 2 * MARGIN))
    canvas = Image.new("RGBA", (side, side))
    canvas.paste(drawn, ((side - drawn.width) // 2, (side - drawn.height) // 2))
    if side != size:
        canvas = canvas.resize((size, size), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    canvas.save(buffer, format="PNG", compress_level=6)
    return buffer.getvalue()
