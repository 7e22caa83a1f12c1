"""Linear Centred Kernel Alignment (Kornblith et al. 2019), biased and unbiased.

Shapes: N samples, D and E the widths of two spaces. Features are taken as they are: CKA does not change under rotation,
translation and scaling of a space, and it does change under anything else.

The biased estimate grows with width over samples and is well above zero for independent features. The unbiased one
rests on the estimator of HSIC by Song et al. (2012, eq. 5), which is an inner product of U-centred Gram matrices
(Szekely and Rizzo 2014): rows and columns sum to zero, the diagonal is zero. Its expectation is zero for independent
features.
"""

import numpy as np

MIN_SAMPLES = 4  # the unbiased estimate divides by N - 3


def gram(x_ND: np.ndarray) -> np.ndarray:
    """Inner products of the centred rows, (N, N) float64; centring costs no information and saves digits."""
    x_ND = x_ND.astype(np.float64)
    x_ND = x_ND - x_ND.mean(axis=0)
    return np.asarray(x_ND @ x_ND.T)


def double_centred(gram_NN: np.ndarray) -> np.ndarray:
    """HKH: rows and columns that sum to zero, (N, N)."""
    row_N = gram_NN.mean(axis=0)
    return np.asarray(gram_NN - row_N[:, None] - row_N[None, :] + row_N.mean())


def u_centred(gram_NN: np.ndarray) -> np.ndarray:
    """The U-centred matrix: zero diagonal, rows and columns that sum to zero, (N, N).

    Raises:
        ValueError: there are fewer than 4 samples.
    """
    n = len(gram_NN)
    _require_enough(n)
    hollow_NN = gram_NN - np.diag(np.diag(gram_NN))
    row_N = hollow_NN.sum(axis=0) / (n - 2)
    centred_NN = hollow_NN - row_N[:, None] - row_N[None, :] + row_N.sum() / (n - 1)
    np.fill_diagonal(centred_NN, 0.0)
    return np.asarray(centred_NN)


def unit(matrix: np.ndarray) -> np.ndarray:
    """The matrix over its Frobenius norm, so that the inner product of two is their CKA; zero if it is zero."""
    norm = float(np.linalg.norm(matrix))
    return matrix / norm if norm > 0 else np.zeros_like(matrix)


def linear_cka(x_ND: np.ndarray, y_NE: np.ndarray) -> float:
    """Biased linear CKA in [0, 1], as the paper's script computes it; 0 if a space is constant."""
    if _feature_form_is_cheaper(x_ND, y_NE):
        x_ND, y_NE = _centred(x_ND), _centred(y_NE)
        return _ratio(*(float((a.T @ b).ravel() @ (a.T @ b).ravel()) for a, b in _three(x_ND, y_NE)))
    return float((unit(double_centred(gram(x_ND))) * unit(double_centred(gram(y_NE)))).sum())


def unbiased_linear_cka(x_ND: np.ndarray, y_NE: np.ndarray) -> float:
    """Linear CKA with unbiased HSIC in numerator and denominator; about 0 for independent features, at most 1.

    Computed from Gram matrices, or from products of features where those are smaller; both are exact.

    Raises:
        ValueError: there are fewer than 4 samples.
    """
    if _feature_form_is_cheaper(x_ND, y_NE):
        return _ratio(*(_unbiased_hsic(a, b) for a, b in _three(_centred(x_ND), _centred(y_NE))))
    return float((unit(u_centred(gram(x_ND))) * unit(u_centred(gram(y_NE)))).sum())


def _unbiased_hsic(x_ND: np.ndarray, y_NE: np.ndarray) -> float:
    """Song et al. (2012), eq. 5, times N (N - 3), from centred features: no (N, N) matrix is formed."""
    n = len(x_ND)
    _require_enough(n)
    x_diagonal, y_diagonal = (x_ND**2).sum(axis=1), (y_NE**2).sum(axis=1)
    # Rows of a Gram matrix of centred features sum to zero, so without the diagonal row i sums to minus entry i.
    trace = float(((x_ND.T @ y_NE) ** 2).sum()) - float(x_diagonal @ y_diagonal)
    totals = float(x_diagonal.sum() * y_diagonal.sum())
    return trace + totals / ((n - 1) * (n - 2)) - 2 / (n - 2) * float(x_diagonal @ y_diagonal)


def _require_enough(n: int) -> None:
    if n < MIN_SAMPLES:
        raise ValueError(f"the unbiased estimate of HSIC needs at least {MIN_SAMPLES} samples, found {n}")


def _centred(x_ND: np.ndarray) -> np.ndarray:
    x_ND = x_ND.astype(np.float64)
    return np.asarray(x_ND - x_ND.mean(axis=0))


def _three(x: np.ndarray, y: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    return (x, y), (x, x), (y, y)


def _ratio(across: float, first: float, second: float) -> float:
    product = max(first, 0.0) * max(second, 0.0)
    return across / float(np.sqrt(product)) if product > 0 else 0.0


def _feature_form_is_cheaper(x_ND: np.ndarray, y_NE: np.ndarray) -> bool:
    return bool(max(x_ND.shape[1], y_NE.shape[1]) < len(x_ND))
