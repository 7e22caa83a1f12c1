"""Synthetic pairs whose best possible retrieval is known.

Each side has a latent vector: shared coordinates, which depend on those of the other side, and private ones, which
depend on nothing. An injective map takes it to features of the side's width. As no information is lost on the way, the
Bayes-optimal score of two feature vectors is the log ratio of densities p(u, v) / (p(u) p(v)) of their shared
coordinates, which both laws give in closed form:

- `gaussian`: standard normal, coordinate k of both sides correlated. That is probabilistic CCA (Bach and Jordan 2005),
  the home ground of closed forms as long as the map is linear.
- `sphere`: u uniform on the unit sphere, v around it by von Mises-Fisher. That is the model in which InfoNCE with
  cosines recovers the latents (Zimmermann et al. 2021), the home ground of trained heads.

The map is a network of additive couplings (NICE, Dinh et al. 2014) between random rotations, then a random isometry
into the features. Its couplings are draws of a Gaussian process of unit variance whose kernel has a
length scale of `length` typical distances: the longer, the smoother. Without couplings it is linear.

Shapes: n pairs, N queries and candidates, S shared and P private coordinates, L = S + P, D features.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from scipy.stats import ortho_group, vonmises_fisher

COMPONENTS = 256  # of a random function
_TWO = math.sqrt(2)  # what brings the sum of two unit variances back to one


@dataclass(frozen=True)
class Setting:
    """A world without its random numbers.

    Attributes:
        strength: correlation of a shared coordinate with its partner, or concentration of von Mises-Fisher.
        length: of the random functions, in units of the typical distance of two latents; None for a linear map.
        couplings: how many follow each other.
    """

    law: Literal["gaussian", "sphere"]
    strength: float
    length: float | None = None
    couplings: int = 2
    shared: int = 8
    private: int = 8
    widths: tuple[int, int] = (64, 48)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"widths": list(self.widths)}


@dataclass(frozen=True)
class Pairs:
    """n pairs.

    Attributes:
        features: of both sides, (n, D) float32.
        shared: of both sides, (n, S) float64: what the features say of each other.
    """

    features: tuple[np.ndarray, np.ndarray]
    shared: tuple[np.ndarray, np.ndarray]


class World:
    """A setting with its maps drawn.

    Args:
        seed: of the maps.
    """

    def __init__(self, setting: Setting, seed: int) -> None:
        self.setting, rng = setting, np.random.default_rng([seed, 0])
        self.maps = [Map(setting, width, rng) for width in setting.widths]
        self._seed = seed

    def draw(self, n: int, stream: int) -> Pairs:
        """Pairs of one of independent streams; the first of a stream stay the same as n grows."""
        parts, block = [], 1 << 14
        for number, start in enumerate(range(0, n, block)):
            rng = np.random.default_rng([self._seed, 1 + stream, number])
            parts.append(self._block(rng, block, min(block, n - start)))
        features = tuple(np.concatenate([one.features[side] for one in parts]) for side in (0, 1))
        shared = tuple(np.concatenate([one.shared[side] for one in parts]) for side in (0, 1))
        return Pairs((features[0], features[1]), (shared[0], shared[1]))

    def scores(self, u_NS: np.ndarray, v_NS: np.ndarray) -> np.ndarray:
        """The Bayes-optimal scores (N, N) of shared coordinates, up to a constant of each query of either side."""
        return bayes_scores(self.setting, u_NS, v_NS)

    def _block(self, rng: np.random.Generator, size: int, kept: int) -> Pairs:
        shared = draw_shared(self.setting, size, rng)
        private = [rng.standard_normal((size, self.setting.private)) for _ in shared]
        latents = [np.hstack([self._scaled(one), own])[:kept] for one, own in zip(shared, private, strict=True)]
        features = [to(latent).astype(np.float32) for to, latent in zip(self.maps, latents, strict=True)]
        return Pairs((features[0], features[1]), (shared[0][:kept], shared[1][:kept]))

    def _scaled(self, shared: np.ndarray) -> np.ndarray:
        """To unit variance, as private coordinates have."""
        return shared * math.sqrt(self.setting.shared) if self.setting.law == "sphere" else shared


class Map:
    """From latents (n, L) to features (n, D), injective.

    Args:
        width: D, at least L.
    """

    def __init__(self, setting: Setting, width: int, rng: np.random.Generator) -> None:
        total = setting.shared + setting.private
        self._half = total // 2
        self.turns = [_rotation(total, rng) for _ in range(1 + setting.couplings * (setting.length is not None))]
        scale = None if setting.length is None else setting.length * math.sqrt(2 * self._half)
        couplings = 0 if scale is None else setting.couplings
        self._functions = [_Function(self._half, total - self._half, scale or 1.0, rng) for _ in range(couplings)]
        self.isometry = _rotation(width, rng)[:total]

    def __call__(self, latent_nL: np.ndarray) -> np.ndarray:
        """Map."""
        x = latent_nL @ self.turns[0]
        for function, turn in zip(self._functions, self.turns[1:], strict=True):
            still, moved = x[:, : self._half], x[:, self._half :]
            x = np.hstack([still, (moved + function(still)) / _TWO]) @ turn
        features: np.ndarray = x @ self.isometry
        return features

    def inverse(self, features_nD: np.ndarray) -> np.ndarray:
        """The latents of features."""
        x = features_nD @ self.isometry.T
        for function, turn in zip(self._functions[::-1], self.turns[:0:-1], strict=True):
            x = x @ turn.T
            still, moved = x[:, : self._half], x[:, self._half :]
            x = np.hstack([still, moved * _TWO - function(still)])
        latents: np.ndarray = x @ self.turns[0].T
        return latents


class _Function:
    """A draw of a Gaussian process of unit variance, as random Fourier features (Rahimi and Recht 2007)."""

    def __init__(self, d_in: int, d_out: int, scale: float, rng: np.random.Generator) -> None:
        self._frequency = rng.standard_normal((d_in, COMPONENTS)) / scale
        self._phase = rng.uniform(0, 2 * math.pi, COMPONENTS)
        self._weight = rng.standard_normal((COMPONENTS, d_out)) * math.sqrt(2 / COMPONENTS)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        found: np.ndarray = np.cos(x @ self._frequency + self._phase) @ self._weight
        return found


def draw_shared(setting: Setting, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Shared coordinates of both sides, (n, S) each, by the law of the setting."""
    u = rng.standard_normal((n, setting.shared))
    if setting.law == "gaussian":
        rho = setting.strength
        return u, rho * u + math.sqrt(1 - rho**2) * rng.standard_normal(u.shape)
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    pole = np.eye(setting.shared)[0]
    around = vonmises_fisher(pole, setting.strength).rvs(n, random_state=rng)
    axis = pole - u  # a reflection takes the pole to u, and what lies around it along
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    return u, around - 2 * axis * (around * axis).sum(axis=1, keepdims=True)


def bayes_scores(setting: Setting, u_NS: np.ndarray, v_NS: np.ndarray) -> np.ndarray:
    """log p(u, v) / (p(u) p(v)) of every query and candidate, (N, N), up to one constant."""
    if setting.law == "sphere":
        on_sphere: np.ndarray = setting.strength * u_NS @ v_NS.T
        return on_sphere
    rho = setting.strength
    squares = (u_NS**2).sum(1)[:, None] + (v_NS**2).sum(1)[None]
    scores: np.ndarray = (rho * u_NS @ v_NS.T - rho**2 * squares / 2) / (1 - rho**2)
    return scores


def first_hits(scores_NN: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether the partner scores highest, by query: of rows and of columns, (N,) bool each; a tie is a miss."""
    own = np.diagonal(scores_NN)
    others = scores_NN.copy()
    np.fill_diagonal(others, -np.inf)
    return own > others.max(axis=1), own > others.max(axis=0)


def linear_share(pairs: Pairs) -> float:
    """How much of the variance of the shared coordinates a linear map of the features explains, mean of both sides."""
    shares = []
    for features, shared in zip(pairs.features, pairs.shared, strict=True):
        x, y = features - features.mean(0), shared - shared.mean(0)
        left = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
        shares.append(1 - (left**2).sum() / (y**2).sum())
    return float(np.mean(shares))


def _rotation(width: int, rng: np.random.Generator) -> np.ndarray:
    found: np.ndarray = ortho_group.rvs(width, random_state=rng)
    return found
