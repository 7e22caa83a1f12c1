"""The poster's synthetic study: two noisy non-linear images of one hidden space.

Z ~ U[-1, 1]^(n x d), A = T1(Z) + w1 U(n, d), B = T2(Z) + w2 U(n, d) with U uniform on [0, 1], whose mean does not
matter here. The poster draws w1 and w2 from [0, 1]; here they run over a grid, so that high and low noise occur equally
often. It does not say what the non-linear transform is: here a random linear map, GELU and another one, of width d,
with Gaussian weights of variance 1 / d.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from pipeline.config import SyntheticToy


@dataclass(frozen=True)
class SyntheticPair:
    """Spaces (n, d) float32, their noise, and a seed for training."""

    first: np.ndarray
    second: np.ndarray
    w1: float
    w2: float
    seed: int

    @property
    def name(self) -> str:
        """Its name in tables."""
        return f"noise {self.w1:g} {self.w2:g}, seed {self.seed}"


def synthetic_pairs(params: SyntheticToy, seed: int) -> list[SyntheticPair]:
    """Every pair of noise levels with every seed, each drawn on its own: hidden space, transforms and noise."""
    levels = [(w1, w2) for w1 in params.noise for w2 in params.noise]
    pairs = []
    for offset in range(params.seeds):
        for place, (w1, w2) in enumerate(levels):
            number = seed * params.seeds + offset
            generator = np.random.default_rng([number, place])
            hidden = generator.uniform(-1, 1, size=(params.samples, params.width))
            first, second = (
                _transform(hidden, generator) + weight * generator.uniform(size=hidden.shape) for weight in (w1, w2)
            )
            pairs.append(SyntheticPair(first.astype(np.float32), second.astype(np.float32), w1, w2, number))
    return pairs


def _transform(hidden: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    width = hidden.shape[1]
    inner, outer = (generator.normal(scale=width**-0.5, size=(width, width)) for _ in range(2))
    mapped = hidden @ inner
    return np.asarray((mapped * ndtr(mapped)) @ outer)  # x times the normal distribution function is GELU
