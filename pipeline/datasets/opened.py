"""The door to pictures: every encoded image is opened here, in known formats and up to a size."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

from PIL import Image, UnidentifiedImageError

from pipeline.datasets.disguise import seems_to_be, without_text
from pipeline.errors import DataError

MAX_ASPECT = 100  # longer to shorter side; resizing the shorter one to 224 pixels then makes at most 5 megapixels
PICTURES = ("AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "MPO", "PCX", "PNG", "PPM", "SGI", "TIFF", "WEBP")
LABEL_MAPS = ("BMP", "DIB", "GIF", "PCX", "PNG", "PPM", "SGI", "TIFF")  # those that keep every value


@contextmanager
def opened_image(content: bytes, formats: Sequence[str] = PICTURES) -> Iterator[Image.Image]:
    """The image in `content`, of bounded size; whatever goes wrong inside is a `DataError` with a short reason.

    Formats beside `formats` are not tried: they would run programs (EPS), or take nearly any bytes for a picture (TGA).

    Raises:
        DataError: not an image of these formats, damaged, so large that decoding it could exhaust memory, or so narrow
            that resizing it could.
    """
    try:
        if not content:
            raise DataError("empty file")
        with Image.open(io.BytesIO(without_text(content)), formats=_available(tuple(formats))) as image:
            shorter, longer = sorted(image.size)
            if Image.MAX_IMAGE_PIXELS and shorter * longer > Image.MAX_IMAGE_PIXELS:
                raise Image.DecompressionBombError
            if longer > MAX_ASPECT * max(shorter, 1):
                raise DataError(f"too narrow ({image.width} x {image.height} pixels; at most {MAX_ASPECT} to 1)")
            yield image
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        raise DataError(f"too many pixels (more than {Image.MAX_IMAGE_PIXELS})") from error
    except UnidentifiedImageError as error:
        raise DataError(f"not an image of a known format{seems_to_be(content)}") from error
    except Exception as error:  # decoders raise all sorts of errors on malformed bytes
        raise DataError(f"damaged image ({error or type(error).__name__})") from error


@cache
def _available(formats: tuple[str, ...]) -> tuple[str, ...]:
    """Those of some formats that this Pillow reads."""
    Image.init()
    return tuple(name for name in formats if name in Image.OPEN)
