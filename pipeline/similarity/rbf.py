"""CKA with a Gaussian kernel, biased and unbiased (Kornblith et al. 2019, section 3).

K_ij = exp(-|x_i - x_j|^2 / (2 s^2 m^2)), with m^2 the median squared distance of the space and s the bandwidth: the
authors' notebook has s = 0.5 in its example. The sum over all pairs is exact; it takes time that grows with N^2, and
memory for a block of rows. The median is that of all pairs, diagonal included as in the notebook, up to 4,096 samples;
beyond, of the pairs of 4,096 evenly spaced samples.

Shapes: N samples, D and E the widths of two spaces.
"""

import numpy as np

from pipeline.errors import DataError
from pipeline.similarity.hsic import MIN_SAMPLES, KernelRows, cka_of_sums, kernel_sums
from pipeline.similarity.spaces import check_pair, mean_row

BANDWIDTH = 0.5
MEDIAN_SAMPLES = 4096
_ROWS_AT_ONCE = 256


def rbf_cka(x_ND: np.ndarray, y_NE: np.ndarray, bandwidth: float = BANDWIDTH) -> float:
    """CKA with unbiased HSIC and a Gaussian kernel: 0 in expectation for independent spaces, at most 1.

    Raises:
        DataError: as `check_pair`; or most samples of a space coincide, so that the median distance is zero.
    """
    return _cka(x_ND, y_NE, bandwidth, unbiased=True)


def rbf_cka_biased(x_ND: np.ndarray, y_NE: np.ndarray, bandwidth: float = BANDWIDTH) -> float:
    """CKA with biased HSIC and a Gaussian kernel, in [0, 1]; above zero for independent spaces.

    Raises:
        DataError: as `rbf_cka`.
    """
    return _cka(x_ND, y_NE, bandwidth, unbiased=False)


def _cka(x_ND: np.ndarray, y_NE: np.ndarray, bandwidth: float, *, unbiased: bool) -> float:
    check_pair(x_ND, y_NE, MIN_SAMPLES if unbiased else 2)
    first, second = (_kernel(space, side, bandwidth) for space, side in ((x_ND, "x"), (y_NE, "y")))
    return cka_of_sums(kernel_sums(first, second, len(x_ND), hollow=unbiased), unbiased=unbiased)


def _kernel(x_ND: np.ndarray, side: str, bandwidth: float) -> KernelRows:
    centred_ND = x_ND.astype(np.float64) - mean_row(x_ND)  # distances stay, and lose fewer digits
    square_N = (centred_ND**2).sum(axis=1)

    def distances(rows: np.ndarray | slice, columns: np.ndarray | slice) -> np.ndarray:
        squares = centred_ND[rows] @ centred_ND[columns].T
        squares *= -2
        squares += square_N[rows, None]
        squares += square_N[None, columns]
        return np.asarray(np.maximum(squares, 0.0, out=squares))

    some = np.unique(np.linspace(0, len(x_ND) - 1, min(len(x_ND), MEDIAN_SAMPLES)).astype(np.int64))
    among = np.empty((len(some), len(some)))
    for start in range(0, len(some), _ROWS_AT_ONCE):
        among[start : start + _ROWS_AT_ONCE] = distances(some[start : start + _ROWS_AT_ONCE], some)
    np.fill_diagonal(among, 0.0)
    median = float(np.median(among, overwrite_input=True))
    del among
    if median <= 1e-12 * float(square_N.max()):
        raise DataError(
            f"the median distance of two samples of {side} is zero: at least half of the pairs coincide, so the width "
            "of a Gaussian kernel is not defined. Use linear CKA, or leave repeated samples out."
        )

    def rows(start: int, stop: int) -> np.ndarray:
        kernel = distances(slice(start, stop), slice(None))
        kernel /= -2 * bandwidth**2 * median
        return np.asarray(np.exp(kernel, out=kernel))

    return rows
