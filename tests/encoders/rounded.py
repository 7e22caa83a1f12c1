"""Whether what a store holds is what a library gives, rounded."""

import numpy as np
import torch

HALF_STEP = 2.0**-11  # of float16, relative


def assert_rounded(found: np.ndarray, expected: np.ndarray) -> None:
    """float16 of these float32 values, but for the order of sums."""
    assert found.dtype == np.float16
    assert found.shape == expected.shape
    limit = HALF_STEP * np.abs(expected) + 1e-5 * np.abs(expected).max() + 2.0**-25
    assert (np.abs(found.astype(np.float32) - expected) <= limit).all(), np.abs(found - expected).max()


def parts(frames: torch.Tensor, count: int) -> torch.Tensor:
    """Means over equal parts of the time (count, D), of frames (T, D)."""
    return torch.nn.functional.adaptive_avg_pool1d(frames.T[None], count)[0].T
