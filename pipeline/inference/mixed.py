"""Inputs of `encode`: one or many, and which of them are pictures."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from PIL import Image

from pipeline.errors import DataError
from pipeline.inference.arguments import require_numbers, require_order
from pipeline.inference.inputs import is_image, require_image, require_text
from pipeline.inference.sounds import is_sound, is_sound_file, require_sound
from pipeline.inference.urls import is_data_uri, is_picture_address

Modality = Literal["image", "text", "audio"]
MODALITIES: list[Modality] = ["image", "text", "audio"]
_SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".avif")
_ARRAYS = (np.ndarray, torch.Tensor)


class Input(NamedTuple):
    """One picture, text or sound."""

    modality: Modality
    value: Any


def is_single(inputs: Any) -> bool:
    """Whether `encode` is given one input, whose answer is one vector, and not many of them.

    Raises:
        DataError: neither; a set, or a table.
    """
    if isinstance(inputs, torch.Tensor):
        require_numbers(inputs)
    if is_sound(inputs):
        return True
    if isinstance(inputs, _ARRAYS):
        return inputs.ndim < 4 and not (isinstance(inputs, np.ndarray) and inputs.dtype.kind in "UOT")
    if isinstance(inputs, (str, bytes, bytearray, Path, dict, Image.Image)):
        return True
    require_order(inputs, "text or picture")
    if not isinstance(inputs, Iterable):
        raise DataError(f"Expected texts or pictures, one or many, found {type(inputs).__name__}.")
    return False


def windows(inputs: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """The inputs in lists of `size`, the last one shorter."""
    inputs = iter(inputs)
    while window := list(islice(inputs, size)):
        yield window


def told_apart(value: Any, number: int, modality: str | None, urls: bool) -> Input:
    """What an element of `encode`'s input is.

    Strings are texts, apart from paths of existing files of pictures and sounds and data URIs of pictures; a dict with
    the one key "text", "image" or "audio" leaves nothing to guess, and so does `modality`.

    Args:
        number: its place, for messages.
        urls: whether the address of a picture stands for the picture.

    Raises:
        DataError: neither a text nor a picture; the address of a picture, where `urls` was not asked for.
    """
    if isinstance(value, dict) and not is_sound(value):
        modality, value = _of_dict(value, number)
    if modality is None:
        modality = _guessed(value, number, urls)
    if modality == "image":
        require_image(value, number)
        return Input("image", value)
    if modality == "audio":
        require_sound(value, number)
        return Input("audio", value)
    if modality != "text":
        raise DataError(f"Input {number}: modality {modality!r} is not known here; these are: image, text, audio.")
    require_text(value, number)
    return Input("text", str(value))


def _of_dict(value: dict[Any, Any], number: int) -> tuple[str, Any]:
    if len(value) == 1 and next(iter(value)) in MODALITIES:
        ((modality, inner),) = value.items()
        return str(modality), inner
    keys = ", ".join(map(repr, value))
    raise DataError(
        f'Input {number}: expected {{"text": ...}} or {{"image": ...}}, found a dict with {keys or "nothing"}. An '
        "aligner has one encoder per modality: encode text and picture apart, and add their vectors if you want both."
    )


def _guessed(value: Any, number: int, urls: bool) -> str:
    if not isinstance(value, str):
        if is_sound(value):
            return "audio"
        if is_image(value):
            return "image"
        found = f"an array of {value.ndim} axes" if isinstance(value, _ARRAYS) else type(value).__name__
        raise DataError(f"Input {number}: expected a text or a picture, found {found}.")
    if is_data_uri(value) or (value.lower().endswith(_SUFFIXES) and _is_file(value)):
        return "image"
    if is_sound_file(value) and _is_file(value):
        return "audio"
    if not is_picture_address(value):
        return "text"
    if not urls:
        raise DataError(
            f"Input {number} is the address of a picture, {value[:200]!r}. Nothing is fetched unless you pass "
            'urls=True; if it is a text, pass {"text": ...} or modality="text".'
        )
    return "image"


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # too long for a path, or with a NUL
        return False
