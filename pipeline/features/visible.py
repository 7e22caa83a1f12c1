"""How much of a picture an encoder sees, given how it resizes and crops."""

from collections.abc import Mapping
from typing import Any


def centre_crop(preprocessing: Mapping[str, Any]) -> tuple[float, float]:
    """Sides of a square picture after resizing and after the centre crop; equal without a crop.

    Args:
        preprocessing: as a checkpoint's manifest describes it (`resize` and `crop`, or `crop_pct`).

    Returns:
        Both in pixels, or with `crop_pct` as shares of the first, which is 0 if a picture is cropped without resizing.
    """
    if preprocessing.get("crop_pct"):
        return 1.0, float(preprocessing["crop_pct"])
    if not preprocessing.get("crop"):
        return 1.0, 1.0
    return float(min((preprocessing.get("resize") or {"none": 0}).values())), float(min(preprocessing["crop"].values()))


def visible_share(preprocessing: Mapping[str, Any]) -> float:
    """Share of the side of a square picture that a centre crop leaves to the encoder, 1 without a crop.

    Args:
        preprocessing: as for `centre_crop`.
    """
    resized, cropped = centre_crop(preprocessing)
    return cropped / resized if resized else 1.0


def seen_share(fingerprint: Mapping[str, Any]) -> float:
    """`visible_share` of the features of a store, by its fingerprint; 1 with `fit: whole`."""
    if fingerprint["compared"].get("fit") == "whole":
        return 1.0
    return visible_share(fingerprint["described"].get("preprocessing") or {})
