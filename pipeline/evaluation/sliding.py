"""From patch scores of windows to a class for every pixel of a picture.

Shapes: W windows, P patches of a window, row-major, C classes.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from pipeline.evaluation.pixels import between

FloatBox = tuple[float, float, float, float]  # left, top, right, bottom
Box = tuple[int, int, int, int]
_CHUNK_VALUES = 1 << 24  # float32 of some classes at every pixel


def label_pixels(
    scores: np.ndarray,
    patch_grid: tuple[int, int],
    boxes: Sequence[Box],
    size: tuple[int, int],
    share: float = 1.0,
    background: float | None = None,
    scale: float = 1.0,
) -> np.ndarray:
    """The class with the highest score at every pixel, (height, width) int64; the first one of a tie.

    Scores of a window are interpolated bilinearly to the pixels of its box, as `torch.nn.functional.interpolate(...,
    align_corners=False)` does it, and averaged where windows overlap: mmsegmentation's slide inference, but for the
    interpolation once, at the size of the picture, and not twice. Classes are taken some at a time, so memory does not
    grow with their number.

    Args:
        scores: (W, P, C) float32.
        boxes: of each window, in pixels of the picture; together they cover it.
        size: width and height of the picture.
        share: of the sides of a box that the patches cover, in its centre; pixels beyond take the nearest patch.
        background: probability of the best class, softmax of `scale` times the averaged scores, below which a pixel is
            background: class C. None for no background.
    """
    width, height = size
    best = np.full((height, width), -np.inf, dtype=np.float32)
    label = np.zeros((height, width), dtype=np.int64)
    total = np.zeros((height, width), dtype=np.float64) if background is not None else None
    for first, mean in averaged(scores, patch_grid, boxes, size, share):
        top = mean.max(axis=0)
        if total is not None:
            higher = np.maximum(best, top)
            total *= np.exp(np.float64(scale) * (best - higher), where=np.isfinite(best), out=np.zeros_like(total))
            total += np.exp(np.float64(scale) * (mean - higher)).sum(axis=0)
        better = top > best
        label[better] = mean.argmax(axis=0)[better] + first
        best[better] = top[better]
    if total is not None and background is not None:
        label[1 / total < background] = scores.shape[2]
    return label


def averaged(
    scores: np.ndarray, patch_grid: tuple[int, int], boxes: Sequence[Box], size: tuple[int, int], share: float
) -> Iterator[tuple[int, np.ndarray]]:
    """Yields mean scores over the windows that see a pixel: the first class, (c, height, width) float32 from it on.

    Args:
        scores, patch_grid, boxes, size, share: as for `label_pixels`.

    Raises:
        ValueError: a pixel is outside every box.
    """
    width, height = size
    seen = np.zeros((height, width), dtype=np.float32)
    for left, top, right, bottom in boxes:
        seen[top:bottom, left:right] += 1
    if not seen.all():
        raise ValueError(f"{int((seen == 0).sum())} pixels of {width} x {height} are in none of the boxes {boxes}")
    grids = scores.reshape(len(boxes), *patch_grid, scores.shape[2])
    weights = [
        (_weights(bottom - top, patch_grid[0], share), _weights(right - left, patch_grid[1], share))
        for left, top, right, bottom in boxes
    ]
    step = max(1, _CHUNK_VALUES // (height * width))
    for first in range(0, scores.shape[2], step):
        some = grids[..., first : first + step].transpose(0, 3, 1, 2)
        mean = np.zeros((some.shape[1], height, width), dtype=np.float32)
        for grid, (down, across), (left, top, right, bottom) in zip(some, weights, boxes, strict=True):
            mean[:, top:bottom, left:right] += down @ grid @ across.T
        yield first, mean / seen


def _weights(pixels: int, patches: int, share: float) -> np.ndarray:
    """Bilinear weights (pixels, patches) float32 of the patches along one side of a box."""
    before, after, way = between(np.arange(pixels), pixels, patches, share)
    weights = np.zeros((pixels, patches), dtype=np.float32)
    weights[np.arange(pixels), before] = 1 - way
    weights[np.arange(pixels), after] += way
    return weights
