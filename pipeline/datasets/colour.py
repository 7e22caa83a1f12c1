"""Colour of 16 bits a sample, of which a stated number is used.

Pillow keeps the upper byte of each sample, which is nearly nothing of 12 bits in 16. Read in the other byte order it
gives the lower one.
"""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
from PIL import Image, ImageFile

from pipeline.errors import DataError

_BITS = 258  # TIFF: bits of each sample
_OTHER = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}  # N is the order of this machine
_FORMS = ("RGB", "RGBX", "RGBA")
_GREY = "LA;16B"  # of a PNG; as "RGBA" its four bytes are grey and alpha, upper and lower


def is_deep_colour(image: Image.Image) -> bool:
    """Whether an image that was opened and not loaded has colour, or grey with alpha, of 16 bits a sample."""
    return isinstance(image, ImageFile.ImageFile) and bool(image.tile) and _is_deep(image)


def _is_deep(image: ImageFile.ImageFile) -> bool:
    if image.mode not in (*_FORMS, "CMYK", "LA"):
        return False
    return ";16" in _raw_mode(image) or 16 in getattr(image, "tag_v2", {}).get(_BITS, ())


def eight_bit_colour(
    image: Image.Image, again: Callable[[], AbstractContextManager[Image.Image]], bits: int
) -> Image.Image:
    """The image, loaded, with samples from 0 to 2**`bits` - 1 as 8 bits; alpha keeps its 16.

    Args:
        image: of deep colour, not loaded.
        again: opens the same image once more.

    Raises:
        DataError: a sample is larger, or the image is of a kind that is not read so.
    """
    assert isinstance(image, ImageFile.ImageFile)
    raw = _raw_mode(image)
    form, _, order = raw.partition(";16")
    if raw != _GREY and (form not in _FORMS or order not in _OTHER):
        raise DataError(f"16 bits of {image.mode} ({raw}) are not read with `bits`: write it as RGB, or with 8 bits")
    with again() as other:
        assert isinstance(other, ImageFile.ImageFile)
        _reread(other, "RGBA" if raw == _GREY else f"{form};16{_OTHER[order]}")
        other.load()
        lower = np.asarray(other)
    image.load()
    upper = np.asarray(image)
    if raw == _GREY:
        samples = np.repeat(_joined(lower[..., 0], lower[..., 1])[..., None], 3, axis=2)
    else:
        samples = _joined(upper[..., :3], lower[..., :3])
    narrowed = Image.fromarray(narrow(samples, bits), "RGB")
    if image.mode == "RGBA":
        narrowed.putalpha(image.getchannel("A"))
    return narrowed


def narrow(samples: np.ndarray, bits: int) -> np.ndarray:
    """Samples from 0 to 2**`bits` - 1 as uint8: their upper 8 bits.

    Raises:
        DataError: one is larger or below 0.
    """
    low, high = (int(samples.min(initial=0)), int(samples.max(initial=0)))
    if low < 0 or high >= 2**bits:
        found = f"go down to {low}" if low < 0 else f"go up to {high}"
        raise DataError(f"its pixels {found}, outside of the 0 to {2**bits - 1} of `bits: {bits}`")
    return (samples >> (bits - 8)).astype(np.uint8)


def _joined(upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    joined: np.ndarray = upper.astype(np.uint16) << 8 | lower
    return joined


def _raw_mode(image: ImageFile.ImageFile) -> str:
    args = image.tile[0].args
    return str(args[0]) if isinstance(args, tuple | list) and args else str(args)


def _reread(image: ImageFile.ImageFile, raw: str) -> None:
    """Have all tiles decoded in another raw mode."""
    image.tile = [
        tile._replace(args=raw if isinstance(tile.args, str) else (raw, *(tile.args or ())[1:])) for tile in image.tile
    ]
