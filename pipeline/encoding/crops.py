"""Random resized crops of a picture, the same in every run: they depend only on the picture's id and size.

As in Szegedy et al., "Going Deeper with Convolutions" (CVPR 2015), and torchvision's RandomResizedCrop: a share of the
area and an aspect ratio between 3/4 and 4/3 are drawn until the box fits; after ten tries the whole picture is taken.
"""

import hashlib
import math
from collections.abc import Iterator

import numpy as np
from PIL import Image

_RATIO = 4 / 3
_TRIES = 10
Box = tuple[int, int, int, int]


def crop_box(identifier: str, number: int, size: tuple[int, int], scale: tuple[float, float]) -> Box:
    """Left, upper, right and lower edge in pixels of crop `number` (from 0); more crops do not move earlier ones.

    Args:
        size: width and height of the picture in pixels.
        scale: smallest and largest share of its area.
    """
    digest = hashlib.sha256(f"{identifier}/{number}".encode()).digest()
    generator = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    width, height = size
    for _ in range(_TRIES):
        area = width * height * generator.uniform(*scale)
        ratio = math.exp(generator.uniform(-math.log(_RATIO), math.log(_RATIO)))
        crop_width, crop_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            margins = (width - crop_width, height - crop_height)
            left, upper = (int(generator.integers(0, margin + 1)) for margin in margins)
            return left, upper, left + crop_width, upper + crop_height
    return 0, 0, width, height


def crops(image: Image.Image, identifier: str, count: int, scale: tuple[float, float]) -> Iterator[Image.Image]:
    """`count` crops of an image."""
    return (image.crop(crop_box(identifier, number, image.size, scale)) for number in range(count))
