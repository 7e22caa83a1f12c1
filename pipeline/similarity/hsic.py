"""The Hilbert-Schmidt independence criterion (HSIC) from sums over two kernel matrices, biased and unbiased.

With K and L the kernel matrices of N samples, HSIC is an inner product of the centred matrices. Both estimators follow
from five sums, which are collected over blocks of rows, so that no matrix is held:

    biased (Gretton et al. 2005)         <K, L> - 2/N r_K . r_L + S_K S_L / N^2
    unbiased (Song et al. 2012, eq. 5)   <K, L> + S_K S_L / ((N-1)(N-2)) - 2/(N-2) r_K . r_L,  diagonals set to zero

where r are row sums and S = sum of r. The factors 1/(N-1)^2 and 1/(N(N-3)) cancel in CKA and are left out.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.errors import DataError

MIN_SAMPLES = 4  # the unbiased estimate divides by N - 3
KernelRows = Callable[[int, int], np.ndarray]  # rows from start to stop of a kernel matrix, (stop - start, N) float64

_CELLS_AT_ONCE = 1 << 20
_NO_SELF = 1e-13  # a self-similarity below this share of its own terms is rounding


@dataclass(frozen=True)
class KernelSums:
    """Sums over two kernel matrices of n samples.

    Attributes:
        n: samples.
        inner: <K, L>, the sum of products of their entries; diagonals left out for the unbiased estimate.
        rows: r_K . r_L, the inner product of row sums.
        totals: S_K S_L.
    """

    n: int
    inner: float
    rows: float
    totals: float

    def biased(self) -> float:
        """HSIC of Gretton et al. times (n - 1)^2."""
        return self.inner - 2 / self.n * self.rows + self.totals / self.n**2

    def unbiased(self) -> float:
        """HSIC of Song et al. times n (n - 3)."""
        return self.inner + self.totals / ((self.n - 1) * (self.n - 2)) - 2 / (self.n - 2) * self.rows

    @property
    def size(self) -> float:
        """What rounding errors of the estimates are measured against."""
        return abs(self.inner) + 2 / self.n * abs(self.rows) + abs(self.totals) / self.n**2


def kernel_sums(first: KernelRows, second: KernelRows, n: int, *, hollow: bool) -> tuple[KernelSums, ...]:
    """Sums of (K, L), (K, K) and (L, L), read in blocks of rows.

    Args:
        first, second: the rows of K and of L.
        hollow: count diagonals as zero, as the unbiased estimate does.
    """
    step = max(1, _CELLS_AT_ONCE // n)
    inner, row_sums = np.zeros(3), np.empty((2, n))
    for start in range(0, n, step):
        stop = min(n, start + step)
        k, m = first(start, stop), second(start, stop)
        if hollow:
            place = np.arange(stop - start)
            k[place, place + start] = 0.0
            m[place, place + start] = 0.0
        inner += (k * m).sum(), (k * k).sum(), (m * m).sum()
        row_sums[:, start:stop] = k.sum(axis=1), m.sum(axis=1)
    r, s = row_sums
    return tuple(
        KernelSums(n, float(value), float(a @ b), float(a.sum() * b.sum()))
        for value, (a, b) in zip(inner, ((r, s), (r, r), (s, s)), strict=True)
    )


def cka_of_sums(sums: tuple[KernelSums, ...], *, unbiased: bool) -> float:
    """CKA = HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)) (Kornblith et al. 2019).

    Raises:
        DataError: a self-similarity is zero, as it is for the unbiased estimate where all samples but one agree.
    """
    across, first, second = (s.unbiased() if unbiased else s.biased() for s in sums)
    for side, value, own in (("x", first, sums[1]), ("y", second, sums[2])):
        if value <= _NO_SELF * own.size:
            raise DataError(
                f"the similarity of {side} to itself is zero: its samples do not vary but for one of them or for "
                "rounding, so CKA is not defined. Expected features that vary; leave outliers out."
            )
    return across / float(np.sqrt(first) * np.sqrt(second))
