"""A label map over its picture."""

import colorsys

import numpy as np
from PIL import Image

OPACITY = 0.55
_LARGEST = 1024


def colour(number: int) -> tuple[int, int, int]:
    """The colour of a class: hues a golden angle apart, so that neighbours in the list differ most."""
    hue = (number * 0.6180339887 + 0.58) % 1.0
    red, green, blue = colorsys.hls_to_rgb(hue, 0.45 + 0.12 * (number % 3), 0.75)
    return round(255 * red), round(255 * green), round(255 * blue)


def hex_colour(number: int) -> str:
    """The same as CSS writes it."""
    return "#" + bytes(colour(number)).hex()


def overlay(picture: Image.Image, labels: np.ndarray) -> Image.Image:
    """The picture with the colour of its class over every pixel, at most 1,024 pixels wide and high.

    Args:
        labels: (height, width) integers, at the size of the picture.
    """
    palette = np.array([colour(number) for number in range(int(labels.max()) + 1)], dtype=np.uint8)
    mixed = Image.blend(picture.convert("RGB"), Image.fromarray(palette[labels]), OPACITY)
    mixed.thumbnail((_LARGEST, _LARGEST), Image.Resampling.LANCZOS)
    return mixed
