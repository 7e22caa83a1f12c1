"""Regions of pictures: the mean patch token of each object of composed scenes, by its exact mask."""

from collections.abc import Sequence

import numpy as np
import torch

SEEN = 0.5  # share of a patch that an object must fill for the patch to count in full
_LITTLE = 1e-4  # weight of the share in patches that are filled less, so that small objects have some
LEAST = 0.2  # largest share of a patch below which an object is too small to have a region


def patch_shares(masks: np.ndarray, patch_grid: tuple[int, int], share: float) -> np.ndarray:
    """Which share of each patch a mask fills, (n, P) float32, row-major.

    Args:
        masks: (n, size, size) bool.
        patch_grid: rows and columns of patches.
        share: of the side of a picture that the patches cover, in its centre.
    """
    margin = round(masks.shape[1] * (1 - share) / 2)
    inside = masks[:, margin : masks.shape[1] - margin, margin : masks.shape[2] - margin]
    pooled = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(inside.astype(np.float32))[:, None], patch_grid)
    return pooled.flatten(1).numpy()


def region_tokens(patch: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Mean patch tokens (n, D) float32 of regions of one picture.

    Args:
        patch: (P, D) tokens of the picture.
        shares: (n, P) of each region, as `patch_shares` gives them.
    """
    weights = shares * (shares > SEEN) + _LITTLE * shares
    weights = weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)
    tokens: np.ndarray = weights @ patch.astype(np.float32)
    return tokens


def object_tokens(
    patches: Sequence[np.ndarray],
    instances: np.ndarray,
    numbers: Sequence[np.ndarray],
    grid: tuple[int, int],
    share: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean patch tokens of the objects of several pictures.

    Args:
        patches: (P, D) tokens of each picture.
        instances: (N, size, size) uint8, the object at each pixel of each picture.
        numbers: of the objects wanted in each picture.
        grid, share: as for `patch_shares`.

    Returns:
        (n, D) float32, picture by picture; and (n,) bool, whether the object fills enough of some patch.
    """
    tokens, large = [], []
    for patch, instance, wanted in zip(patches, instances, numbers, strict=True):
        shares = patch_shares(instance[None] == wanted[:, None, None], grid, share)
        tokens.append(region_tokens(patch, shares))
        large.append(shares.max(axis=1) > LEAST)
    return np.concatenate(tokens), np.concatenate(large)
