"""What every measure asks of its two spaces, and reading them in blocks.

Shapes: N samples, D and E the widths of two spaces. A space is an array in memory or mapped from a file: measures read
it in blocks of rows and convert each block to float64, so a stored float16 array is never copied as a whole.
"""

from collections.abc import Iterator

import numpy as np

from pipeline.errors import DataError

_CELLS_AT_ONCE = 1 << 21
_NO_SPREAD = 1e-12  # rows that differ by less, as a share of the largest value, are equal up to rounding


def check_pair(x_ND: np.ndarray, y_NE: np.ndarray, least: int) -> None:
    """Refuse spaces that no measure is defined for.

    Args:
        least: samples that the measure needs.

    Raises:
        DataError: the spaces are no matrices with as many rows each, have fewer than `least` rows, hold a value that
            is not finite, or one of them has the same features for every sample.
    """
    for side, space in (("x", x_ND), ("y", y_NE)):
        if space.ndim != 2:
            raise DataError(
                f"{side} has the shape {space.shape}, expected (samples, width): one vector per sample. Pool tokens or "
                "pick a layer first."
            )
    if len(x_ND) != len(y_NE):
        raise DataError(
            f"x has {len(x_ND)} rows and y {len(y_NE)}, expected as many: row i of both belongs to sample i. Give both "
            "the same samples."
        )
    if len(x_ND) < least:
        raise DataError(f"this measure needs at least {least} samples, found {len(x_ND)}. Add samples.")
    for side, space in (("x", x_ND), ("y", y_NE)):
        check_space(space, side)


def check_space(x_ND: np.ndarray, side: str) -> None:
    """Refuse features that are not finite, or equal for all samples.

    Args:
        side: the name of the space in the message.

    Raises:
        DataError: as said.
    """
    first, largest, apart, bad = np.asarray(x_ND[0], dtype=np.float64), 0.0, 0.0, []
    for start, block in blocks(x_ND):
        finite = np.isfinite(block).all(axis=1)
        if not finite.all():
            bad += (start + np.flatnonzero(~finite)).tolist()
        elif not bad:
            largest = max(largest, float(np.abs(block).max(initial=0.0)))
            apart = max(apart, float(np.abs(block - first).max(initial=0.0)))
    if bad:
        raise DataError(
            f"{side} has values that are not finite (NaN or infinite) in {len(bad)} of {len(x_ND)} rows, the first is "
            f"row {bad[0]}; expected finite features. Encode them again, or leave these samples out."
        )
    if apart <= _NO_SPREAD * largest:
        raise DataError(
            f"{side} has the same features for all {len(x_ND)} samples, so similarity to it is not defined. Expected "
            "features that vary: is the encoder or the pooling the one you meant?"
        )


def blocks(x_ND: np.ndarray, step: int | None = None) -> Iterator[tuple[int, np.ndarray]]:
    """Consecutive rows as float64, with the number of the first; `step` rows at a time, by default 16 MB of them."""
    step = step or rows_at_once(x_ND.shape[1])
    for start in range(0, len(x_ND), step):
        yield start, np.asarray(x_ND[start : start + step], dtype=np.float64)


def rows_at_once(width: int) -> int:
    """Rows of that width in a block of 16 MB of float64."""
    return max(1, _CELLS_AT_ONCE // max(1, width))


def mean_row(x_ND: np.ndarray) -> np.ndarray:
    """The mean of the rows, (D,) float64."""
    total = np.zeros(x_ND.shape[1])
    for _, block in blocks(x_ND):
        total += block.sum(axis=0)
    return total / len(x_ND)


def unit_rows(x_ND: np.ndarray) -> np.ndarray:
    """Rows brought to unit length, (N, D) float64; a zero row stays zero."""
    x_ND = x_ND.astype(np.float64)
    norm_N = np.linalg.norm(x_ND, axis=1, keepdims=True)
    return np.asarray(x_ND / np.where(norm_N > 0, norm_N, 1.0))
