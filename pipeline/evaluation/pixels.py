"""From scores on a grid of patches to classes of some pixels of a square picture.

Scores are interpolated bilinearly, as `torch.nn.functional.interpolate(..., align_corners=False)` does it, but only at
the pixels asked for, and only for the classes that can win there.
"""

from dataclasses import dataclass

import numpy as np

_CHUNK_VALUES = 1 << 21  # float32 at once; more does not fit the caches


@dataclass(frozen=True)
class PatchCells:
    """Where pixels lie between the centres of patches.

    Attributes:
        corners: (k, 4) int64, the four patches around each occupied cell of the grid.
        cell_of: (n,) int64, the cell of each pixel.
        weights: (n, 4) float32, the bilinear weights of those patches; they sum to 1.
    """

    corners: np.ndarray
    cell_of: np.ndarray
    weights: np.ndarray

    def renumbered(self, corners: np.ndarray) -> "PatchCells":
        """The same cells with patches renumbered: `corners` (k, 4) are the new numbers."""
        return PatchCells(corners, self.cell_of, self.weights)


def locate(
    pictures: np.ndarray, rows: np.ndarray, columns: np.ndarray, size: int, patch_grid: tuple[int, int], share: float
) -> PatchCells:
    """The patches around each pixel; patches are numbered through all pictures, row-major within one.

    Args:
        pictures, rows, columns: (n,) int64, where each pixel is.
        size: side of the pictures in pixels.
        patch_grid: (height, width) in patches.
        share: of the side that the grid covers, in the centre; pixels beyond take the nearest patch.
    """
    height, width = patch_grid
    top, bottom, down = between(rows, size, height, share)
    left, right, across = between(columns, size, width, share)
    base = pictures * (height * width)
    corners = np.stack(
        [base + y * width + x for y in (top, bottom) for x in (left, right)], axis=1
    )  # upper left, upper right, lower left, lower right
    weights = np.stack([v * h for v in (1 - down, down) for h in (1 - across, across)], axis=1)
    _, first, cell_of = np.unique(corners[:, 0], return_index=True, return_inverse=True)
    return PatchCells(corners[first], cell_of, weights.astype(np.float32))


def best_class(scores: np.ndarray, cells: PatchCells) -> np.ndarray:
    """The class with the highest interpolated score at each pixel, (n,); the first one of a tie.

    Its dtype is the narrowest that holds the C classes, since predictions of all methods and languages are kept.

    An interpolated score lies between the lowest and the highest of its four patches. So only those classes can win in
    a cell whose highest score there reaches the best of all lowest scores: the others need no interpolation, and the
    answer stays exact.

    Args:
        scores: (M, C) float32 of every patch and class.
    """
    widths = np.empty(len(cells.corners), dtype=np.int64)
    step = max(1, _CHUNK_VALUES // (4 * scores.shape[1]))
    for start in range(0, len(widths), step):
        around = scores[cells.corners[start : start + step]]
        floor = around.min(axis=1).max(axis=1)
        widths[start : start + step] = (around.max(axis=1) >= floor[:, None]).sum(axis=1)
    widths = np.minimum(1 << np.ceil(np.log2(widths)).astype(np.int64), scores.shape[1])
    best = np.empty(len(cells.cell_of), dtype=np.min_scalar_type(scores.shape[1] - 1))
    for width in np.unique(widths):
        pixels = np.flatnonzero(widths[cells.cell_of] == width)
        pixels = pixels[np.argsort(cells.cell_of[pixels], kind="stable")]
        step = max(1, _CHUNK_VALUES // (4 * int(width)))
        for start in range(0, len(pixels), step):
            some = pixels[start : start + step]
            best[some] = _best_of(scores, cells, some, int(width))
    return best


def _best_of(scores: np.ndarray, cells: PatchCells, pixels: np.ndarray, width: int) -> np.ndarray:
    """The best class of some pixels, each among the `width` classes with the highest scores around it."""
    here, cell_of = np.unique(cells.cell_of[pixels], return_inverse=True)
    around = scores[cells.corners[here]]
    if width < scores.shape[1]:
        chosen = np.sort(np.argpartition(-around.max(axis=1), width - 1, axis=1)[:, :width], axis=1)
        around = np.take_along_axis(around, chosen[:, None, :], axis=2)
    else:
        chosen = np.broadcast_to(np.arange(width), (len(here), width))
    weights = cells.weights[pixels]
    interpolated = weights[:, :1] * around[cell_of, 0]
    for corner in range(1, 4):
        interpolated += weights[:, corner : corner + 1] * around[cell_of, corner]
    best: np.ndarray = chosen[cell_of, interpolated.argmax(axis=1)]
    return best


def between(positions: np.ndarray, size: int, patches: int, share: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The patch before and the patch after each pixel along one axis, and how far it is on the way, from 0 to 1."""
    inside = ((positions + 0.5) / size - (1 - share) / 2) / share
    place = np.clip(inside * patches - 0.5, 0, patches - 1)
    before = np.minimum(place.astype(np.int64), patches - 1)
    after = np.minimum(before + 1, patches - 1)
    return before, after, place - before
