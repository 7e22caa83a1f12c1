"""Pictures of one channel with more than 8 bits: their values as 8-bit grey, by the range that the file states."""

import numpy as np
from PIL import Image

from pipeline.datasets.colour import narrow
from pipeline.errors import DataError

DEEP = ("I", "I;16", "I;16L", "I;16B", "I;16N")
_TAGS = ((280, 281), (340, 341))  # TIFF 6.0: Min- and MaxSampleValue, SMin- and SMaxSampleValue
_BITS = 258
_SCALED = ("PNG", "PPM", "JPEG2000", "SGI")  # Pillow hands out their values as 0 to 65535
_DARK = 4096  # the range of 12 bits: what stays below in 16 bits would be black
_STATING = ("PPM", "JPEG2000")  # whose values Pillow has scaled by the range in the file
_HINT = (
    "write it as 8 bits, set `bits` of its views, or state the range in the TIFF tags SMinSampleValue and "
    "SMaxSampleValue"
)


def eight_bits(image: Image.Image, bits: int | None = None) -> Image.Image:
    """A picture of mode I, I;16 or F as mode L.

    The range is the one the file states: TIFF's tags, or the bits of a sample. Where it states none, floats from 0 to 1
    or 255 and whole numbers from 0 to 255 or 65535 are scaled by that; others are refused, since a guess would show
    them black or white. Floats that are no number count as 0.

    Args:
        bits: the range of whole numbers is 0 to 2**`bits` - 1 where the file states no more than the size of a sample.

    Raises:
        DataError: no range is stated and the values fit none, or they lie outside of the one stated.
    """
    if bits is not None and image.mode != "F" and image.format not in _STATING and _stated(image) is None:
        return Image.fromarray(narrow(np.asarray(image).astype(np.int64), bits))
    values = np.nan_to_num(np.asarray(image).astype(np.float64), posinf=np.inf, neginf=-np.inf)
    low, high = float(values.min(initial=np.inf)), float(values.max(initial=-np.inf))
    bottom, top = _stated(image) or _fitting(image, low, high)
    if low < bottom or high > top:
        raise DataError(f"its pixels are from {low:g} to {high:g}, outside of the {bottom:g} to {top:g} that it states")
    if image.mode == "F":
        scaled = np.rint((values - bottom) * (255 / (top - bottom)))
    else:
        scaled = np.floor((values - bottom) * (256 / (top + 1 - bottom)))  # 16 bits: the upper byte
    return Image.fromarray(scaled.astype(np.uint8))


def _stated(image: Image.Image) -> tuple[float, float] | None:
    """The range in the tags of a TIFF; None if there is none."""
    tags = getattr(image, "tag_v2", {})
    for low, high in _TAGS:
        found = [_number(tags.get(tag)) for tag in (low, high)]
        if found[1] is not None and found[1] > (found[0] or 0.0):
            return found[0] or 0.0, found[1]
    return None


def _number(value: object) -> float | None:
    value = value[0] if isinstance(value, tuple) and value else value
    return float(value) if isinstance(value, int | float) and np.isfinite(value) else None


def _fitting(image: Image.Image, low: float, high: float) -> tuple[float, float]:
    """The range where none is stated: of the bits of a sample, or the usual one that the values fit."""
    if image.mode not in ("F", "I"):
        bits = getattr(image, "tag_v2", {}).get(_BITS, (16,))
        top = 2 ** min(bits[0] if isinstance(bits, tuple) else bits, 16) - 1
        if top == 65535 and image.format == "TIFF" and 0 < high < _DARK:
            raise DataError(f"its pixels have 16 bits and go up to {high:g}, and it states no range: {_HINT}")
        return 0, top
    if image.mode == "I" and image.format in _SCALED:
        return 0, 65535
    usual = [(0, 1, 0.0), (0, 255, 16.0)] if image.mode == "F" else [(0, 255, 16.0), (0, 65535, float(_DARK))]
    for bottom, top, least in usual:
        if low >= bottom and (least <= high <= top or high == 0):
            return bottom, top
    raise DataError(f"its pixels are from {low:g} to {high:g}, and it states no range: {_HINT}")
