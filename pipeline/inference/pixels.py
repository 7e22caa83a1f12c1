"""Arrays and tensors as pictures: which axis holds the channels, and what the numbers mean."""

import numpy as np
import torch
from PIL import Image

from pipeline.errors import DataError
from pipeline.inference.arguments import require_numbers

_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


def picture_of(values: np.ndarray | torch.Tensor) -> Image.Image:
    """A picture from its numbers: grey, grey with alpha, RGB or RGBA, in this order of channels.

    An array has its channels last, (H, W, C), as NumPy, Pillow and scikit-image have them; a tensor has them first,
    (C, H, W), as torchvision has them. The other order is recognised where the expected axis cannot hold channels.
    Two axes are a grey picture.

    Args:
        values: uint8 from 0 to 255, bool, or floats from 0 to 1.

    Raises:
        DataError: another shape or type, floats that are not from 0 to 1, or a tensor that is not dense.
    """
    first = isinstance(values, torch.Tensor)
    array = _numbers(values)
    shape, kind = tuple(array.shape), str(values.dtype)
    if array.ndim == 2:
        array = array[..., None]
    elif array.ndim == 3 and _channels_first(shape, first):
        array = np.moveaxis(array, 0, -1)
    if array.ndim != 3 or array.shape[-1] not in _MODES or not array.size:
        raise DataError(
            f"Expected a picture (H, W), (H, W, C) or (C, H, W) with 1 to 4 channels, found {kind} of shape {shape}."
        )
    array = np.ascontiguousarray(_eight_bits(array, kind))
    return Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array, _MODES[array.shape[-1]])


def _numbers(values: np.ndarray | torch.Tensor) -> np.ndarray:
    if not isinstance(values, torch.Tensor):
        return values
    require_numbers(values)
    values = values.detach().cpu()
    return values.float().numpy() if values.is_floating_point() else values.numpy()  # NumPy has no bfloat16


def _channels_first(shape: tuple[int, ...], expected: bool) -> bool:
    here, there = (shape[0], shape[-1]) if expected else (shape[-1], shape[0])
    return expected if here in _MODES or there not in _MODES else not expected


def _eight_bits(array: np.ndarray, kind: str) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if array.dtype == bool:
        return array.astype(np.uint8) * 255
    if array.dtype.kind != "f":
        raise DataError(f"Expected a picture of uint8 (0 to 255) or of floats (0 to 1), found {kind}.")
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= 1):  # NaN too
        raise DataError(
            f"Floats of a picture go from 0 to 1, found {low:g} to {high:g}. Divide by 255, or undo the normalisation; "
            "pictures that went through `preprocess` are for `encode_pixels`."
        )
    return (array * 255).round().astype(np.uint8)
