"""Rank correlation of similarity with ease of alignment, with its uncertainty."""

from typing import Any

import numpy as np
from scipy.stats import rankdata

from pipeline.statistics import percentile_interval

_DRAWS = 2000
_LEVEL = 0.95
MIN_POINTS = 4


def spearman(x: np.ndarray, y: np.ndarray, seed: int) -> dict[str, Any]:
    """Spearman's rank correlation of (n,) and (n,), ties sharing their mean rank.

    Returns:
        `n`, `spearman`, `ci` (percentile interval over resampled points) and `p` (two-sided: the share of permutations
        of y with a correlation at least as strong, the data counted). All but n are None with fewer than 4 points or
        where one side does not vary.
    """
    if len(x) < MIN_POINTS or np.ptp(x) == 0 or np.ptp(y) == 0:
        return {"n": len(x), "spearman": None, "ci": None, "p": None}
    generator = np.random.default_rng(seed)
    value = float(_of_rows(x[None], y[None])[0])
    drawn = generator.integers(0, len(x), size=(_DRAWS, len(x)))
    resampled = _of_rows(x[drawn], y[drawn])
    low, high = percentile_interval(resampled[np.isfinite(resampled)], _LEVEL)
    shuffled = _of_rows(np.broadcast_to(x, drawn.shape), generator.permuted(np.broadcast_to(y, drawn.shape), axis=1))
    p = (1 + int((np.abs(shuffled) >= abs(value) - 1e-12).sum())) / (1 + _DRAWS)
    return {"n": len(x), "spearman": round(value, 6), "ci": [round(low, 6), round(high, 6)], "p": p}


def spearman_by_encoder(
    x: np.ndarray, y: np.ndarray, images: np.ndarray, texts: np.ndarray, seed: int
) -> dict[str, Any]:
    """The same of pairs of spaces, with an interval that resamples encoders: image and text encoders, both at once.

    A drawn encoder brings all its layers along, as often as it was drawn (pigeonhole bootstrap, Owen 2007). Draws of a
    single image and a single text encoder are kept if their layers vary. There is no p-value: pairs that share an
    encoder cannot be exchanged.

    Args:
        images, texts: (n,) the encoders of each pair.

    Returns:
        `n`, `images` and `texts` (how many encoders there are), `spearman`, `ci`, and `p`, which is None.
    """
    names = [np.unique(side.astype(str), return_inverse=True) for side in (images, texts)]
    counts = {"images": len(names[0][0]), "texts": len(names[1][0])}
    if len(x) < MIN_POINTS or np.ptp(x) == 0 or np.ptp(y) == 0:
        return {"n": len(x), **counts, "spearman": None, "ci": None, "p": None}
    generator = np.random.default_rng(seed)
    values = []
    for _ in range(_DRAWS):
        times = [
            np.bincount(generator.integers(0, len(unique), size=len(unique)), minlength=len(unique))[place]
            for unique, place in names
        ]
        rows = np.repeat(np.arange(len(x)), times[0] * times[1])
        values.append(float(_of_rows(x[rows][None], y[rows][None])[0]) if len(rows) else np.nan)
    drawn = np.array(values)
    low, high = percentile_interval(drawn[np.isfinite(drawn)], _LEVEL)
    value = float(_of_rows(x[None], y[None])[0])
    return {"n": len(x), **counts, "spearman": round(value, 6), "ci": [round(low, 6), round(high, 6)], "p": None}


def _of_rows(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Correlation of the ranks, row by row; NaN where a row does not vary."""
    x, y = (rankdata(side, axis=1) - (side.shape[1] + 1) / 2 for side in (x, y))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((x * y).sum(axis=1) / np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1)))
