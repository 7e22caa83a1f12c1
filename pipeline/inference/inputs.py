"""Inputs from users: one picture or text, or many."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from pipeline.datasets.decode import decode_rgb, upright_rgb
from pipeline.errors import DataError
from pipeline.inference.arguments import listed, require_numbers
from pipeline.inference.pixels import picture_of
from pipeline.inference.urls import data_bytes, fetch, is_address, is_data_uri
from pipeline.user_path import user_path

ImageLike = Image.Image | str | Path | bytes | bytearray | np.ndarray | torch.Tensor
_FILES = (Image.Image, str, Path, bytes, bytearray)
_ARRAYS = (np.ndarray, torch.Tensor)
_PICTURES = 4  # axes of several pictures in one array


def is_image(value: Any) -> bool:
    """Whether a value can be one picture: PIL image, path, bytes of a file, or an array of two or three axes."""
    return isinstance(value, _FILES) or (isinstance(value, _ARRAYS) and value.ndim in (2, 3))


def image_list(images: Any) -> list[ImageLike]:
    """One picture or many, as a list: a sequence, a generator, or an array or a tensor of four axes.

    Raises:
        DataError: no picture at all, or something that is none; a set, a dict or a table (see `listed`).
    """
    if isinstance(images, torch.Tensor):
        require_numbers(images)
    if isinstance(images, _ARRAYS) and images.ndim == _PICTURES:
        images = list(images)
    given = [images] if is_image(images) else listed(images, "image")
    for number, image in enumerate(given):
        require_image(image, number)
    return given


def require_image(image: Any, number: int) -> None:
    """Check that an element of a list can be a picture.

    Raises:
        DataError: it cannot; names its place.
    """
    if not is_image(image):
        found = f"an array of {image.ndim} axes" if isinstance(image, _ARRAYS) else type(image).__name__
        raise DataError(
            f"Image {number}: expected a PIL image, a path, the bytes of a file, or an array (H, W, C), found {found}."
        )


def text_list(texts: Any, what: str = "text") -> list[str]:
    """One text or a sequence of them, as a list.

    Raises:
        DataError: an empty sequence, something that is not a string, or a string with a lone surrogate; a set, a dict
            or a table (see `listed`).
    """
    given = [texts] if isinstance(texts, str) else listed(texts, what)
    for number, text in enumerate(given):
        require_text(text, number, what)
    return given


def require_text(text: Any, number: int, what: str = "text") -> None:
    """Check that an element of a list is a text.

    Raises:
        DataError: it is no string, or one with a lone surrogate; names its place.
    """
    if not isinstance(text, str):
        raise DataError(f"{what.capitalize()} {number}: expected a string, found {type(text).__name__}.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{what.capitalize()} {number}: {ascii(text)[:80]} is no valid Unicode ({error.reason})."
        ) from None


def open_image(image: ImageLike, urls: bool = False, bits: int | None = None) -> Image.Image:
    """A picture as RGB, upright and over white where it is transparent, as the stage `encode` decodes it.

    Args:
        image: a string is a path, or a data URI that holds the file.
        urls: whether a string may also be an http or https address, which is fetched.
        bits: of deep pictures, as the view states them.

    Raises:
        DataError: the file is missing, or not an image that can be decoded, or the picture has no pixels; an address
            that was not asked for.
    """
    if isinstance(image, _ARRAYS):
        image = picture_of(image)
    if isinstance(image, Image.Image):
        if not image.width * image.height:
            raise DataError(f"Expected a picture with pixels, found one of {image.width} x {image.height}.")
        return upright_rgb(image, bits)
    if isinstance(image, (bytes, bytearray)):
        return decode_rgb(bytes(image), bits)
    if isinstance(image, str) and is_data_uri(image):
        return decode_rgb(data_bytes(image), bits)
    if isinstance(image, str) and is_address(image):
        if not urls:
            raise DataError(f"{image} is an address. Pass urls=True to fetch it, or fetch it yourself.")
        return decode_rgb(fetch(image), bits)
    path = user_path(image, "the file of a picture")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error} (looked from {Path.cwd()})") from error
    try:
        return decode_rgb(content, bits)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
