"""Kernel ridge regression with a Gaussian kernel: exact, or on features whose products approach the kernel.

Shapes: n training rows, D and Y the widths of the two sides, M features.
"""

import torch
from torch import Tensor

from pipeline.alignment.closed_form.linear import solve_lifted
from pipeline.alignment.heads.fitted import RBF, Fourier

LARGEST = 20_000  # rows for the exact form: 3.2 GB of kernel, and their number cubed in operations


def gamma_of(variance: Tensor, bandwidth: float) -> float:
    """Of exp(-gamma |x - z|^2): 1 / (bandwidth * mean squared distance of two rows), which is twice the total variance.

    Args:
        variance: (D,), of each coordinate.
    """
    return 1.0 / (bandwidth * 2.0 * float(variance.sum()))


def kernel_ridge(kernel_nn: Tensor, target_nY: Tensor, penalty: float, weight_n: Tensor) -> Tensor:
    """Coefficients (n, Y) float64: (K + penalty * diag(1 / weight))^-1 target.

    The minimiser of sum weight |target - f(x)|^2 + penalty |f|^2 over the functions of the kernel's space.
    """
    return solve_lifted(kernel_nn.double(), target_nY.double(), penalty / weight_n.double())


def nystrom_root(kernel_MM: Tensor, floor: float = 1e-6) -> Tensor:
    """K^(-1/2) of the kernel of the landmarks (M, M), float64: Williams and Seeger (NeurIPS 2000).

    k(x, landmarks) @ root has products that approach the kernel. Directions below `floor` of the largest are dropped.
    """
    values_M, vectors_MM = torch.linalg.eigh(kernel_MM.double())
    kept = values_M > floor * values_M[-1]
    inverse = torch.where(kept, values_M.clamp_min(1e-300).rsqrt(), torch.zeros_like(values_M))
    root: Tensor = (vectors_MM * inverse) @ vectors_MM.T
    return root


def draw_features(
    kind: str, sample_nD: Tensor, size: int, gamma: float, generator: torch.Generator
) -> tuple[RBF | Fourier, Tensor | None]:
    """A map to at most `size` features, and for Nystrom the root (M, M) that its values are multiplied by.

    Args:
        kind: "fourier", or "nystrom" with landmarks drawn from the sample.
        sample_nD: rows as the map will see them.
    """
    if kind == "fourier":
        return Fourier.draw(sample_nD.shape[1], size, gamma, generator).to(sample_nD.device), None
    chosen = torch.randperm(len(sample_nD), generator=generator)[:size].to(sample_nD.device)
    landmarks = RBF(sample_nD[chosen], gamma).to(sample_nD.device)
    return landmarks, nystrom_root(landmarks(landmarks.anchors))
