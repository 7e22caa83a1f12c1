"""Means and covariances of paired rows, summed block by block: all that a linear closed form needs of the data.

Of far fewer pairs than features the covariances are kept in the directions that the pairs span. Ridge regression and
CCA map everything outside of them to 0, so that nothing is lost, and a fit to n pairs of X features takes n^3
operations instead of X^3.

Shapes: n pairs, b rows of a block, X and Y the widths of the two sides, R directions that pairs span.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

FEW = 4  # a side of this many features for each pair is kept in the directions that the pairs span
_ROUNDING = 1e-10  # of the largest variance: directions below it are not spanned


@dataclass(frozen=True)
class Moments:
    """Of n pairs: means (X,), (Y,) and covariances (X, X), (Y, Y), (X, Y), divided by n; all float64.

    Attributes:
        span_x, span_y: orthonormal directions (X, R), (Y, R) in whose coordinates the covariances of a side are; None
            where they are in its features.
    """

    count: int
    mean_x: Tensor
    mean_y: Tensor
    cov_xx: Tensor
    cov_yy: Tensor
    cov_xy: Tensor
    span_x: Tensor | None = None
    span_y: Tensor | None = None

    def shares(self) -> tuple[float, float]:
        """Coordinates per feature of either side: what makes a mean over coordinates one over features."""
        x, y = (1.0 if span is None else span.shape[1] / span.shape[0] for span in (self.span_x, self.span_y))
        return x, y

    def swapped(self) -> "Moments":
        """The same with the sides exchanged."""
        means, spans = (self.mean_y, self.mean_x), (self.span_y, self.span_x)
        return Moments(self.count, *means, self.cov_yy, self.cov_xx, self.cov_xy.T, *spans)

    def mapped(self, x_XM: Tensor | None, y_YM: Tensor | None) -> "Moments":
        """Of (x - mean_x) @ x_XM and (y - mean_y) @ y_YM, where given: their means are 0.

        Raises:
            ValueError: a side that is mapped is kept in the directions that the pairs span.
        """
        if x_XM is None and y_YM is None:
            return self
        if self.span_x is not None or self.span_y is not None:
            raise ValueError("moments in the span of their pairs cannot be mapped")
        mean_x, mean_y, xx, yy, xy = self.mean_x, self.mean_y, self.cov_xx, self.cov_yy, self.cov_xy
        if x_XM is not None:
            mean_x, xx, xy = x_XM.new_zeros(x_XM.shape[1]), x_XM.T @ xx @ x_XM, x_XM.T @ xy
        if y_YM is not None:
            mean_y, yy, xy = y_YM.new_zeros(y_YM.shape[1]), y_YM.T @ yy @ y_YM, xy @ y_YM
        return Moments(self.count, mean_x, mean_y, xx, yy, xy)


def few(pairs: int, width: int) -> bool:
    """Whether so many pairs of a side so wide are kept in the directions that they span."""
    return pairs * FEW <= width


def moments_of_few(x_nX: Tensor, y_nY: Tensor) -> Moments:
    """Of all pairs at once; a side with far more features than pairs in the directions that they span."""
    mean_x, mean_y = x_nX.double().mean(0), y_nY.double().mean(0)
    x, y = x_nX.double() - mean_x, y_nY.double() - mean_y
    span_x, span_y = (_span(rows) if few(*rows.shape) else None for rows in (x, y))
    x, y = (rows if span is None else rows @ span for rows, span in ((x, span_x), (y, span_y)))
    covariances = (x.T @ x / len(x), y.T @ y / len(x), x.T @ y / len(x))
    return Moments(len(x), mean_x, mean_y, *covariances, span_x, span_y)


def _span(centred_nD: Tensor) -> Tensor:
    """Orthonormal directions (D, R) that centred rows span; float64."""
    values_n, vectors_nn = torch.linalg.eigh(centred_nD @ centred_nD.T)
    kept = values_n > _ROUNDING * values_n[-1]
    directions: Tensor = centred_nD.T @ (vectors_nn[:, kept] * values_n[kept].rsqrt())
    return directions


class MomentSums:
    """Sums of outer products over blocks of pairs: products of a block in its own dtype, sums in float64.

    Rows are shifted by the mean of the first block, so that a large common offset costs no digits.
    """

    def __init__(self) -> None:
        self._count = 0
        self._shift: tuple[Tensor, Tensor] | None = None
        self._sums: list[Tensor] = []

    def add(self, x_bX: Tensor, y_bY: Tensor) -> None:
        """Take a block of pairs, row by row."""
        if self._shift is None:
            self._shift = x_bX.mean(dim=0), y_bY.mean(dim=0)
        x, y = x_bX - self._shift[0], y_bY - self._shift[1]
        new = [part.double() for part in (x.sum(0), y.sum(0), x.T @ x, y.T @ y, x.T @ y)]
        self._sums = new if not self._sums else [total.add_(part) for total, part in zip(self._sums, new, strict=True)]
        self._count += len(x)

    def moments(self) -> Moments:
        """Of all pairs taken so far.

        Raises:
            ValueError: there were none.
        """
        if self._shift is None:
            raise ValueError("no pair was added")
        x, y, xx, yy, xy = (total / self._count for total in self._sums)
        return Moments(
            self._count,
            self._shift[0].double() + x,
            self._shift[1].double() + y,
            xx - torch.outer(x, x),
            yy - torch.outer(y, y),
            xy - torch.outer(x, y),
        )
