"""The segmentation figure of Freeze-Align (arXiv 2409.19425), as its published script computes it. It is not
a mean IoU.

The model is told which classes are present in a picture. The map of scores of each of them is stretched to 0 to 1
within the picture and cut at 0.4; an absent class is never asked for, so nothing can be mistaken for it.
"""

import numpy as np
import torch
from PIL import Image

from pipeline.datasets.segmentation import BACKGROUND, VOID

SIDE, THRESHOLD = 256, 0.4


def present_class_ious(
    scores: np.ndarray, patch_grid: tuple[int, int], labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """IoU of each class that is present in a picture, at 256 x 256 pixels.

    As in that script, the label map is resized by nearest neighbour and pixels that do not count are background. The
    picture is all that the patches see, squeezed to a square.

    Args:
        scores: (P, C) float, patches times class vectors; patches are not brought to unit length.
        patch_grid: rows and columns of patches.
        labels: (height, width) int64, the class of each pixel, `BACKGROUND` or `VOID`.

    Returns:
        classes (n,) int64 that are present; their IoU (n,) float; and what a map of even random numbers is expected to
        give (expected intersection over expected union), (n,) float. All are empty for a picture without a class.
    """
    values = np.where(labels == VOID, BACKGROUND, labels).astype(np.int32)
    truth = np.asarray(Image.fromarray(values).resize((SIDE, SIDE), Image.Resampling.NEAREST))
    classes = np.unique(truth[truth >= 0]).astype(np.int64)
    if not classes.size:
        return classes, np.empty(0), np.empty(0)
    maps = torch.from_numpy(np.ascontiguousarray(scores[:, classes].T, dtype=np.float32))
    maps = torch.nn.functional.interpolate(maps.reshape(1, len(classes), *patch_grid), (SIDE, SIDE), mode="bilinear")[0]
    low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    chosen = ((maps - low) / (high - low).clamp_min(1e-12) > THRESHOLD).numpy()
    inside = truth[None] == classes[:, None, None]
    ious = (chosen & inside).sum(axis=(1, 2)) / (chosen | inside).sum(axis=(1, 2))
    share = inside.mean(axis=(1, 2))
    kept = 1 - THRESHOLD
    return classes, ious, kept * share / (share + kept * (1 - share))
