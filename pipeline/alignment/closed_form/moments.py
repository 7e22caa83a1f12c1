"""Means and covariances of paired rows, summed block by block: all that a linear closed form needs of the data.

Shapes: b rows of a block, X and Y the widths of the two sides.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.errors import DataError

_NO_SPREAD = 1e-12  # a variance below this share of the squared mean is rounding


@dataclass(frozen=True)
class Moments:
    """Of n pairs: means (X,), (Y,) and covariances (X, X), (Y, Y), (X, Y), divided by n; all float64."""

    count: int
    mean_x: Tensor
    mean_y: Tensor
    cov_xx: Tensor
    cov_yy: Tensor
    cov_xy: Tensor

    def swapped(self) -> "Moments":
        """The same with the sides exchanged."""
        return Moments(self.count, self.mean_y, self.mean_x, self.cov_yy, self.cov_xx, self.cov_xy.T)

    def mapped(self, x_XM: Tensor | None, y_YM: Tensor | None) -> "Moments":
        """Of (x - mean_x) @ x_XM and (y - mean_y) @ y_YM, where given: their means are 0."""
        mean_x, mean_y, xx, yy, xy = self.mean_x, self.mean_y, self.cov_xx, self.cov_yy, self.cov_xy
        if x_XM is not None:
            mean_x, xx, xy = x_XM.new_zeros(x_XM.shape[1]), x_XM.T @ xx @ x_XM, x_XM.T @ xy
        if y_YM is not None:
            mean_y, yy, xy = y_YM.new_zeros(y_YM.shape[1]), y_YM.T @ yy @ y_YM, xy @ y_YM
        return Moments(self.count, mean_x, mean_y, xx, yy, xy)


def require_variation(side: str, mean_X: Tensor, variance: Tensor) -> None:
    """Refuse training vectors that no closed form can be fitted to; constant columns among others are no harm.

    Args:
        side: "image" or "text", for the message.
        mean_X: of the vectors.
        variance: the sum of their variances, a scalar.

    Raises:
        DataError: a value is not finite, or all vectors are the same.
    """
    if not bool(torch.isfinite(mean_X).all() & torch.isfinite(variance)):
        raise DataError(
            f"The {side} features of the training pairs have values that are not finite (NaN or infinite); expected "
            "finite ones. Find the damaged store with: python -m pipeline.store verify"
        )
    if float(variance) <= _NO_SPREAD * float((mean_X.double() ** 2).sum()):
        raise DataError(
            f"The {side} features of the training pairs are the same for every sample, so no closed form can be fitted "
            f"to them. Expected features that vary: check the encoder, pooling and layer of the {side} view."
        )


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
