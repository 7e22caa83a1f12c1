"""Linear Centred Kernel Alignment (Kornblith et al. 2019), biased and unbiased, exact at any number of samples.

Shapes: N samples, D and E the widths of two spaces. Features are taken as they are: CKA does not change under rotation,
translation and scaling of a space, and it does change under anything else.

The biased estimate grows with width over samples and is well above zero for independent features. The unbiased one
rests on the estimator of HSIC by Song et al. (2012, eq. 5). Its expectation is zero for independent features.

With more samples than dimensions, nothing of size N is needed. For centred features <K, L> = |X^T Y|_F^2, rows of a
Gram matrix sum to zero, and rows without the diagonal to minus its entries, so both estimates follow from the
(D, E), (D, D) and (E, E) products and from the squared lengths of rows. Blocks of rows are read three times: to check
them, for the means and for the products. With fewer samples the Gram matrices are the smaller ones.
"""

import numpy as np

from pipeline.similarity.hsic import MIN_SAMPLES, KernelRows, KernelSums, cka_of_sums, kernel_sums
from pipeline.similarity.spaces import blocks, check_pair, mean_row, rows_at_once


def linear_cka(x_ND: np.ndarray, y_NE: np.ndarray) -> float:
    """Biased linear CKA in [0, 1], as the script of the Freeze-Align paper computes it.

    Raises:
        DataError: as `check_pair`.
    """
    return _cka(x_ND, y_NE, unbiased=False)


def unbiased_linear_cka(x_ND: np.ndarray, y_NE: np.ndarray) -> float:
    """Linear CKA with unbiased HSIC in numerator and denominator; about 0 for independent features, at most 1.

    Raises:
        DataError: as `check_pair`, with at least 4 samples; or all samples of a space but one agree.
    """
    return _cka(x_ND, y_NE, unbiased=True)


def _cka(x_ND: np.ndarray, y_NE: np.ndarray, *, unbiased: bool) -> float:
    check_pair(x_ND, y_NE, MIN_SAMPLES if unbiased else 2)
    sums = (_of_features if max(x_ND.shape[1], y_NE.shape[1]) < len(x_ND) else _of_grams)(x_ND, y_NE, unbiased)
    return cka_of_sums(sums, unbiased=unbiased)


def _of_features(x_ND: np.ndarray, y_NE: np.ndarray, hollow: bool) -> tuple[KernelSums, ...]:
    """Sums over Gram matrices of centred features from products of features."""
    means = mean_row(x_ND), mean_row(y_NE)
    widths = x_ND.shape[1], y_NE.shape[1]
    products = [np.zeros((widths[a], widths[b])) for a, b in ((0, 1), (0, 0), (1, 1))]
    diagonals, totals = np.zeros(3), np.zeros(2)
    step = rows_at_once(sum(widths))
    for (_, x), (_, y) in zip(blocks(x_ND, step), blocks(y_NE, step), strict=True):
        x, y = x - means[0], y - means[1]
        d, e = (x**2).sum(axis=1), (y**2).sum(axis=1)
        for product, a, b in zip(products, (x, x, y), (y, x, y), strict=True):
            product += a.T @ b
        diagonals += d @ e, d @ d, e @ e
        totals += d.sum(), e.sum()
    inner = [float(np.vdot(product, product)) for product in products]
    if not hollow:
        return tuple(KernelSums(len(x_ND), value, 0.0, 0.0) for value in inner)
    pairs = (totals[0] * totals[1], totals[0] ** 2, totals[1] ** 2)
    return tuple(
        KernelSums(len(x_ND), value - float(diagonal), float(diagonal), float(total))
        for value, diagonal, total in zip(inner, diagonals, pairs, strict=True)
    )


def _of_grams(x_ND: np.ndarray, y_NE: np.ndarray, hollow: bool) -> tuple[KernelSums, ...]:
    x, y = (space.astype(np.float64) - mean_row(space) for space in (x_ND, y_NE))
    return kernel_sums(_gram_rows(x), _gram_rows(y), len(x), hollow=hollow)


def _gram_rows(x_ND: np.ndarray) -> KernelRows:
    return lambda start, stop: x_ND[start:stop] @ x_ND.T
