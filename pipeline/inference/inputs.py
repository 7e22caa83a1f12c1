"""Inputs from users: one picture or text, or many."""

from collections.abc import Sequence
from operator import index
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.datasets.decode import decode_rgb, upright_rgb
from pipeline.errors import DataError

ImageLike = Image.Image | str | Path


def image_list(images: Any) -> list[ImageLike]:
    """One picture or a sequence of them, as a list.

    Raises:
        DataError: an empty sequence, or something that is neither a PIL image nor a path.
    """
    given = [images] if isinstance(images, (Image.Image, str, Path)) else _elements(images, "image")
    for number, image in enumerate(given):
        if not isinstance(image, (Image.Image, str, Path)):
            raise DataError(f"Image {number}: expected a PIL image or a path, found {type(image).__name__}.")
    return given


def whole_number(value: Any, name: str, least: int = 1) -> int:
    """A whole number of at least `least`.

    Raises:
        DataError: it is another kind of value, such as a bool or a float, or smaller.
    """
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        number = index(value)
    except TypeError:
        raise DataError(f"{name} must be a whole number, found {value!r} ({type(value).__name__}).") from None
    if number < least:
        raise DataError(f"{name} must be at least {least}, found {number}.")
    return number


def text_list(texts: Any, what: str = "text") -> list[str]:
    """One text or a sequence of them, as a list.

    Raises:
        DataError: an empty sequence, something that is not a string, or a string with a lone surrogate.
    """
    given = [texts] if isinstance(texts, str) else _elements(texts, what)
    for number, text in enumerate(given):
        if not isinstance(text, str):
            raise DataError(f"{what.capitalize()} {number}: expected a string, found {type(text).__name__}.")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"{what.capitalize()} {number}: {ascii(text)[:80]} is no valid Unicode ({error.reason})."
            ) from None
    return given


def open_image(image: ImageLike) -> Image.Image:
    """A picture as RGB, upright and over white where it is transparent, as the stage `encode` decodes it.

    Raises:
        DataError: the file is missing, or not an image that can be decoded, or the picture has no pixels.
    """
    if isinstance(image, Image.Image):
        if not image.width * image.height:
            raise DataError(f"Expected a picture with pixels, found one of {image.width} x {image.height}.")
        return upright_rgb(image)
    path = Path(image).expanduser()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error} (looked from {Path.cwd()})") from error
    try:
        return decode_rgb(content)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _elements(values: Any, what: str) -> list[Any]:
    if not isinstance(values, Sequence) or isinstance(values, (bytes, bytearray)):
        raise DataError(f"Expected one {what} or a list of them, found {type(values).__name__}.")
    if not values:
        raise DataError(f"Expected at least one {what}, found an empty list.")
    return list(values)
