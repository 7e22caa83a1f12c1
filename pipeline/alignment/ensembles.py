"""Averaging the scores of several aligners: their vectors in a row, so that one inner product is the mean score."""

from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.alignment.saved import HeadConfig
from pipeline.errors import ModelError


def score_shares(scores: str, scales: Sequence[float]) -> tuple[np.ndarray, float]:
    """The share of each member's cosine in that of the ensemble, (M,) float64 of sum 1; and the ensemble's scale.

    Args:
        scores: "cosine" averages cosines. "logit" averages cosines times scales: the share of a member is its scale.
        scales: what each member multiplies its cosines by before a softmax. The ensemble's is their mean, so that of
            "logit" its scaled cosines are the mean of its members' scaled cosines.
    """
    weights = np.array(scales if scores == "logit" else np.ones(len(scales)), dtype=np.float64)
    return weights / weights.sum(), float(np.mean(scales))


def joined_vectors(parts: Sequence[np.ndarray], shares: np.ndarray) -> np.ndarray:
    """Vectors (n, K1 + K2 + ...) float32 whose inner products are the members' inner products, weighted by `shares`.

    Args:
        parts: of each member (n, K) float32, rows in one order; unit vectors give unit vectors.
        shares: (M,) as `score_shares` gives them.
    """
    roots = np.sqrt(shares).astype(np.float32)
    joined: np.ndarray = np.concatenate([root * part for root, part in zip(roots, parts, strict=True)], axis=-1)
    return joined


def require_same_data(name: str, members: Mapping[str, HeadConfig]) -> None:
    """Check that the members of an ensemble were fitted to the same data sets, split as often.

    Args:
        name: of the ensemble, for the message.
        members: what each recorded.

    Raises:
        ModelError: they were not; what one of them holds out may have taught another.
    """
    if len({(tuple(sorted(config.data)), config.repeats) for config in members.values()}) > 1:
        listed = "; ".join(
            f"{member}: {', '.join(config.data) or 'no data set'}, {config.repeats} repeats"
            for member, config in members.items()
        )
        raise ModelError(
            f"Ensemble {name} joins aligners that were fitted to different data or splits ({listed}). What one of them "
            "holds out may have taught another: join aligners of one curation of one project."
        )
