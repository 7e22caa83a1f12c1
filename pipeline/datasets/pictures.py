"""Renders the pictures of the embedded data sets: trims, centres on a transparent square, and writes PNG."""

import io
import math
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import repeat
from multiprocessing import get_context

from PIL import Image

from pipeline.datasets.opened import opened_image
from pipeline.errors import DataError

MARGIN = 0.05  # of the longer side of what is drawn, on each side
_VISIBLE = 8  # alpha (of 255) below which a pixel counts as empty when trimming
_WORTH_PROCESSES = 200  # pictures; below it, starting processes takes longer than they save

Drawing = str | bytes  # SVG text, or an encoded raster


def render_all(drawings: Sequence[Drawing], size: int) -> Iterator[bytes | str]:
    """`squared` PNG bytes of each drawing in order, or the reason why it cannot be rendered.

    The renderer holds Python's lock, so many drawings are distributed over processes, not threads.
    """
    workers = os.cpu_count() or 1
    if workers == 1 or len(drawings) < _WORTH_PROCESSES:
        yield from map(partial(_rendered, size=size), drawings)
        return
    ignored = (signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started these
    spawn = get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=signal.signal, initargs=ignored) as pool:
        yield from pool.map(_rendered, drawings, repeat(size), chunksize=16)


def _rendered(drawing: Drawing, size: int) -> bytes | str:
    try:
        return squared(from_svg(drawing, size) if isinstance(drawing, str) else from_raster(drawing), size)
    except (DataError, ValueError) as error:
        return str(error)


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
        DataError: the bytes are not a picture.
    """
    with opened_image(content, ("PNG", "WEBP")) as image:
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
