"""Linear maps of two paired spaces into one, from moments alone.

Shapes: X and Y the widths of the two sides, K the shared width. Maps are applied to centred rows.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.alignment.closed_form.moments import Moments

_ROUNDING = 1e-6  # of the largest eigenvalue of a Gram matrix that was summed in float32
_WIDE = 1024  # features of a side beyond which an eigendecomposition is most of a fit


def whitening(cov_DD: Tensor, shrink: float) -> Tensor:
    """ZCA whitening (D, D) float64: V (L + shrink * mean L)^(-1/2) V^T of cov = V L V^T.

    Args:
        shrink: added to every variance, in units of the mean variance; directions far below it are left small, and
            those of no variance are not divided by 0.
    """
    values_D, vectors_DD = torch.linalg.eigh(cov_DD)
    floor = shrink * values_D.mean().clamp_min(torch.finfo(cov_DD.dtype).tiny)
    scale_D = (values_D.clamp_min(0) + floor).rsqrt()
    matrix: Tensor = (vectors_DD * scale_D) @ vectors_DD.T
    return matrix


def procrustes(moments: Moments, width: int | None = None) -> tuple[Tensor, Tensor]:
    """Orthogonal Procrustes (Schönemann 1966) for sides of any widths: maps (X, K) and (Y, K) with orthonormal columns.

    Of all such maps they make the mean inner product of pairs largest: the singular vectors of the cross-covariance.

    Args:
        moments: in features, not in the directions that the pairs span: the maps go beyond these.
        width: K, at most the smaller of X and Y, which is the default.
    """
    left, _, right = torch.linalg.svd(moments.cov_xy, full_matrices=False)
    return left[:, :width], right[:width].T


def ridge(moments: Moments, penalty: float) -> Tensor:
    """Ridge regression of y on x, (X, Y): the minimiser of mean |y - x W|^2 + penalty * mean variance of x * |W|^2."""
    lift = penalty * moments.shares()[0] * moments.cov_xx.diagonal().mean()
    solved = _from(moments.span_x, solve_lifted(moments.cov_xx, moments.cov_xy, lift))
    return solved if moments.span_y is None else solved @ moments.span_y.T


def _from(span_XR: Tensor | None, map_RK: Tensor) -> Tensor:
    """A map of features, from one of the coordinates in which they were fitted."""
    return map_RK if span_XR is None else span_XR @ map_RK


def solve_lifted(gram_XX: Tensor, cross_XY: Tensor, lift: Tensor | float) -> Tensor:
    """(gram + diag(lift))^-1 cross, (X, Y) float64: what every ridge regression comes down to.

    Sums of products are in float32, so where `lift` is less than their rounding, a Gram matrix of dependent features
    may have eigenvalues below 0. Directions that rounding decides are then left out.

    Args:
        gram_XX, cross_XY: float64.
        lift: one number, or (X,).
    """
    lifted = gram_XX.clone()
    lifted.diagonal().add_(lift)
    lower, failed = torch.linalg.cholesky_ex(lifted)
    if not int(failed):
        return torch.cholesky_solve(cross_XY, lower)
    values_X, vectors_XX = torch.linalg.eigh(lifted)
    known = values_X > max(_ROUNDING * float(values_X[-1]), -2 * float(values_X[0]))
    inverse_X = torch.where(known, values_X.reciprocal(), torch.zeros_like(values_X))
    solved: Tensor = (vectors_XX * inverse_X) @ (vectors_XX.T @ cross_XY)
    return solved


def cca(moments: Moments, shrink: float, power: float, width: int | None = None) -> tuple[Tensor, Tensor]:
    """Regularised canonical correlation analysis (Hotelling 1936), maps (X, K) and (Y, K).

    Each side is whitened with `shrink`; the singular vectors of the whitened cross-covariance are the directions.

    Args:
        power: directions are weighted by this power of their correlation: 0 is plain CCA, above 0 is weighted CCA, as
            in CSA (Li et al., ICLR 2025), where weak directions count less.
        width: K, at most the smaller of X and Y, which is the default.
    """
    return Canonical(moments, shrink).maps(power, width)


class Canonical:
    """The directions of `cca` with their correlations, from which maps of every power come.

    Args:
        shrink: as of `cca`.
    """

    def __init__(self, moments: Moments, shrink: float) -> None:
        self._spans = moments.span_x, moments.span_y
        self._most = min(len(moments.mean_x), len(moments.mean_y))
        covariances = zip((moments.cov_xx, moments.cov_yy), moments.shares(), strict=True)
        self._white = [_Whitening.of(covariance, shrink * share) for covariance, share in covariances]
        white_x, white_y = self._white
        between = white_y.transposed(white_x.transposed(moments.cov_xy).T).T
        self._left, self._correlation, self._right = torch.linalg.svd(between, full_matrices=False)

    def maps(self, power: float, width: int | None = None) -> tuple[Tensor, Tensor]:
        """As `cca`; directions beyond those that the pairs span are 0."""
        weight = self._correlation[:width] ** power
        wanted = self._most if width is None else min(width, self._most)
        found = []
        for span, white, directions in zip(self._spans, self._white, (self._left, self._right.T), strict=True):
            fitted = _from(span, white.applied(directions[:, :width] * weight))
            missing = wanted - fitted.shape[1]
            found.append(torch.nn.functional.pad(fitted, (0, missing)) if missing else fitted)
        return found[0], found[1]


@dataclass(frozen=True)
class _Whitening:
    """W (D, D) with W W^T = (cov + shrink * mean variance)^-1: of wide features not the symmetric one.

    Any such W gives the same canonical directions. The inverse of a triangle takes a twentieth of the time of an
    eigendecomposition, and is not written out.

    Attributes:
        symmetric: W, or None.
        lower: L with W = L^-T, or None.
    """

    symmetric: Tensor | None
    lower: Tensor | None

    @classmethod
    def of(cls, cov_DD: Tensor, shrink: float) -> "_Whitening":
        """From a covariance, float64."""
        if len(cov_DD) <= _WIDE:
            return cls(whitening(cov_DD, shrink), None)
        lifted = cov_DD.clone()
        lifted.diagonal().add_(shrink * cov_DD.diagonal().mean().clamp_min(torch.finfo(cov_DD.dtype).tiny))
        return cls(None, torch.linalg.cholesky(lifted))

    def transposed(self, columns_DK: Tensor) -> Tensor:
        """W^T @ columns."""
        if self.symmetric is not None:
            return self.symmetric @ columns_DK
        assert self.lower is not None
        solved: Tensor = torch.linalg.solve_triangular(self.lower, columns_DK, upper=False)
        return solved

    def applied(self, columns_DK: Tensor) -> Tensor:
        """W @ columns."""
        if self.symmetric is not None:
            return self.symmetric @ columns_DK
        assert self.lower is not None
        solved: Tensor = torch.linalg.solve_triangular(self.lower.T, columns_DK, upper=True)
        return solved
