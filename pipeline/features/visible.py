"""What of a picture an encoder sees, by how it resizes and crops."""

from collections.abc import Mapping
from typing import Any


def visible_share(preprocessing: Mapping[str, Any]) -> float:
    """Share of the side of a square picture that a centre crop leaves to the encoder, 1 without a crop.

    Args:
        preprocessing: as a checkpoint's manifest describes it (`resize` and `crop`, or `crop_pct`).
    """
    if preprocessing.get("crop_pct"):
        return float(preprocessing["crop_pct"])
    resize, crop = preprocessing.get("resize") or {}, preprocessing.get("crop") or {}
    side = resize.get("shortest_edge", resize.get("height"))
    return float(crop["height"]) / float(side) if crop and side else 1.0


def seen_share(fingerprint: Mapping[str, Any]) -> float:
    """The same of the features of a store, by its fingerprint: all of a picture is seen with `fit: whole`."""
    if fingerprint["compared"].get("fit") == "whole":
        return 1.0
    return visible_share(fingerprint["described"].get("preprocessing") or {})
