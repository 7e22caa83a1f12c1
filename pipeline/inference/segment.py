"""Zero-shot segmentation of one picture: patch tokens, the local projector, bilinear interpolation, argmax."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import interpolate

from pipeline.errors import DataError
from pipeline.features.visible import centre_crop
from pipeline.inference.encoders import FrozenEncoders
from pipeline.inference.inputs import ImageLike, open_image


def segment_image(
    encoders: FrozenEncoders,
    embed: Callable[[np.ndarray], np.ndarray],
    image: ImageLike,
    classes: np.ndarray,
    resolution: int | None,
) -> np.ndarray:
    """The best class of every pixel, (height, width) int64, at the size of the picture.

    The picture is laid on a white square, with a margin that takes up what the encoder's center crop removes, so that
    the patches cover all of it and nothing else is cut off or squeezed.

    Args:
        embed: patch tokens (N, P, D) to unit vectors (N, P, K).
        classes: (C, K) unit vectors.
        resolution: side of what the encoder sees, in pixels; that of the recorded view where None.

    Raises:
        DataError: not an image, or the encoder does not resize to a size of its own.
        CheckpointError, FingerprintMismatch: the encoder is not available, or the resolution is not a multiple of its
            patch size.
    """
    recorded = encoders.image_view
    preprocessing = encoders.preprocessing("image")
    fit = "whole" if "max_patches" in preprocessing else recorded.fit  # on a square the same, with a known grid
    view = recorded.model_copy(update={"tier": "full", "resolution": resolution or recorded.resolution, "fit": fit})
    picture = open_image(image, bits=recorded.bits)
    side = max(picture.size)
    square = centred(picture, round(side * crop_margin(preprocessing)))
    (features,) = encoders.image_features([square], 1, view)
    cosines = embed(features["patch"])[0] @ classes.T
    rows, columns = encoders.patch_grid(view)
    top, left = (side - picture.height) // 2, (side - picture.width) // 2
    return argmax_map(cosines.T.reshape(len(classes), rows, columns), side, (top, left, picture.height, picture.width))


def crop_margin(preprocessing: dict[str, Any]) -> float:
    """Side that the encoder resizes to, divided by the side of its crop; 1 if it does not crop.

    Args:
        preprocessing: as the fingerprint describes it.

    Raises:
        DataError: the processor crops without resizing, or its crop is larger than the resized picture.
    """
    resized, cropped = centre_crop(preprocessing)
    margin = resized / cropped
    if margin < 1:
        raise DataError(
            "Segmentation needs an encoder whose image processor resizes a picture and crops its centre; this one has "
            f"resize {preprocessing.get('resize')} and crop {preprocessing.get('crop')}."
        )
    return margin


def centred(picture: Image.Image, side: int) -> Image.Image:
    """The picture in the middle of a white square."""
    square = Image.new("RGB", (side, side), "white")
    square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return square


def argmax_map(scores: np.ndarray, side: int, box: tuple[int, int, int, int]) -> np.ndarray:
    """Index of the best class of each pixel of a box in a square, (height, width) int64; the first one of a tie.

    One class is interpolated at a time, so memory does not grow with the number of classes.

    Args:
        scores: (C, rows, columns), over the whole square.
        side: of the square in pixels.
        box: top, left, height and width in pixels.
    """
    top, left, height, width = box
    best = np.full((height, width), -np.inf, dtype=np.float32)
    index = np.zeros((height, width), dtype=np.int64)
    for number, plane in enumerate(scores):
        wide = interpolate(
            torch.from_numpy(np.ascontiguousarray(plane, dtype=np.float32))[None, None], (side, side), mode="bilinear"
        )
        values = wide[0, 0, top : top + height, left : left + width].numpy()
        better = values > best
        best[better], index[better] = values[better], number
    return index
