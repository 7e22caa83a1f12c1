"""What each predictor explains of alignment: rank correlations over grids of encoders, with encoders as the units.

Shapes: I image encoders, T text encoders, B draws. A grid (I, T) holds a figure of each pair. Three scopes: `texts`
correlates over the text encoders within each image encoder (the poster's question) and averages; `images` does so the
other way round; `pairs` correlates over all pairs at once.

Intervals resample image encoders and text encoders with replacement, both at once (the pigeonhole bootstrap of Owen
2007). With few encoders they are wide and still too narrow; the p-values are exact where all permutations of the
encoders fit.
"""

from collections.abc import Mapping, Sequence
from itertools import permutations
from math import factorial
from typing import Any

import numpy as np
from scipy.stats import rankdata

from pipeline.statistics import percentile_interval

SCOPES = ("texts", "images", "pairs")
DRAWS = 2000
LEVEL = 0.95
MIN_ENCODERS = 3  # to correlate over


def correlation(x_IT: np.ndarray, y_IT: np.ndarray, scope: str) -> float | None:
    """Spearman's correlation in a scope; None where there are fewer than 3 encoders or a side never varies."""
    if _varied(x_IT.shape, scope) < MIN_ENCODERS:
        return None
    value = float(_correlations(x_IT[None], y_IT[None], scope)[0])
    return value if np.isfinite(value) else None


def partial_correlation(x_IT: np.ndarray, y_IT: np.ndarray, controls: Sequence[np.ndarray], scope: str) -> float | None:
    """The same on ranks from which linear regression on the ranks of the controls (I, T) was taken out.

    Within an image or text encoder ranks are taken within it, and all are pooled. None where the controls leave
    fewer than 3 degrees of freedom among the encoders that are varied, or nothing of a side.
    """
    ranked = [_ranks(grid[None], scope)[0].ravel() for grid in (x_IT, y_IT, *controls)]
    rest = [one for one in ranked[2:] if np.ptp(one) > 1e-9]
    basis = np.stack(rest, axis=1) if rest else np.zeros((ranked[0].size, 0))
    if _varied(x_IT.shape, scope) - 1 - np.linalg.matrix_rank(basis) < 2:
        return None
    x, y = (one - basis @ np.linalg.lstsq(basis, one, rcond=None)[0] for one in ranked[:2])
    size = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / size if size > 1e-9 * ranked[0].size else None


def explained(
    predictors: Mapping[str, np.ndarray],
    outcome_IT: np.ndarray,
    controls: Sequence[np.ndarray],
    scope: str,
    seed: int,
    reference: str = "cka",
) -> list[dict[str, Any]]:
    """One record for each predictor that is known for all pairs.

    Returns:
        `spearman`, its `ci`, the p-value `p` of permuted encoders, `partial` (controls taken out), `regret` (what is
        lost of the outcome when the best encoder by the predictor is taken, a share of the best) with `regret_ci` and
        `regret_chance` (of a random encoder), and how far the reference is above it: `reference_minus`, with its `ci`.
    """
    generator = np.random.default_rng(seed)
    draws = [generator.integers(0, size, size=(DRAWS, size)) for size in outcome_IT.shape]
    place = draws[0][:, :, None], draws[1][:, None, :]
    drawn_y = outcome_IT[place]
    known = {name: grid for name, grid in predictors.items() if np.isfinite(grid).all()}
    drawn = {name: _correlations(grid[place], drawn_y, scope) for name, grid in known.items()}
    records = []
    for name, grid in known.items():
        value = correlation(grid, outcome_IT, scope)
        record: dict[str, Any] = {"predictor": name, "scope": scope, "spearman": _rounded(value)}
        record["images"], record["texts"] = outcome_IT.shape
        record |= {"ci": None, "p": None, "partial": None}
        if value is not None:
            record["ci"] = _interval(drawn[name])
            record["p"] = _rounded(_permuted_p(grid, outcome_IT, scope, value, generator))
            record["partial"] = _rounded(partial_correlation(grid, outcome_IT, controls, scope))
        lost = _regret(grid[place], drawn_y, scope)
        record |= {"regret": _rounded(float(_regret(grid[None], outcome_IT[None], scope)[0]))}
        record |= {"regret_ci": _interval(lost), "regret_chance": _rounded(_random_regret(outcome_IT, scope))}
        if name != reference and reference in known and value is not None:
            best = correlation(known[reference], outcome_IT, scope)
            record["reference_minus"] = None if best is None else _rounded(best - value)
            record["reference_minus_ci"] = _interval(drawn[reference] - drawn[name])
        records.append(record)
    return records


def _varied(shape: tuple[int, ...], scope: str) -> int:
    return {"texts": shape[1], "images": shape[0], "pairs": min(shape) if min(shape) > 1 else 0}[scope]


def _ranks(grid_BIT: np.ndarray, scope: str) -> np.ndarray:
    """Centred ranks within each group of a scope, (B, groups, members)."""
    rows = {"texts": grid_BIT, "images": grid_BIT.transpose(0, 2, 1)}.get(scope)
    if rows is None:
        rows = grid_BIT.reshape(len(grid_BIT), 1, -1)
    ranks: np.ndarray = rankdata(rows, axis=2) - (rows.shape[2] + 1) / 2
    return ranks


def _correlations(x_BIT: np.ndarray, y_BIT: np.ndarray, scope: str) -> np.ndarray:
    """The mean over groups of the correlation of ranks, (B,); groups that do not vary are left out, NaN if all are."""
    x, y = _ranks(x_BIT, scope), _ranks(y_BIT, scope)
    size = np.sqrt((x**2).sum(axis=2) * (y**2).sum(axis=2))
    varies = size > 1e-9
    values = np.divide((x * y).sum(axis=2), size, out=np.zeros_like(size), where=varies)
    counts = varies.sum(axis=1)
    mean: np.ndarray = np.divide(values.sum(axis=1), counts, out=np.full(len(values), np.nan), where=counts > 0)
    return mean


def _permuted_p(x_IT: np.ndarray, y_IT: np.ndarray, scope: str, value: float, generator: np.random.Generator) -> float:
    """Two-sided: the share of permutations of the varied encoders, the same in all groups, that correlate as much."""
    sides: list[np.ndarray] = []
    for size, moved in zip(x_IT.shape, (scope != "texts", scope != "images"), strict=True):
        if not moved:
            sides.append(np.arange(size)[None])
        elif factorial(size) <= DRAWS and scope != "pairs":
            sides.append(np.array(list(permutations(range(size)))))
        else:
            drawn = [np.arange(size), *(generator.permutation(size) for _ in range(DRAWS))]
            sides.append(np.array(drawn))
    count = max(map(len, sides))
    images, texts = (np.broadcast_to(side, (count, side.shape[1])) for side in sides)
    shuffled = x_IT[images[:, :, None], texts[:, None, :]]
    strong = np.abs(_correlations(shuffled, np.broadcast_to(y_IT, shuffled.shape), scope)) >= abs(value) - 1e-9
    return float(strong.mean())


def _grouped(grid_BIT: np.ndarray, scope: str) -> np.ndarray:
    if scope == "pairs":
        return grid_BIT.reshape(len(grid_BIT), 1, -1)
    return grid_BIT if scope == "texts" else grid_BIT.transpose(0, 2, 1)


def _regret(x_BIT: np.ndarray, y_BIT: np.ndarray, scope: str) -> np.ndarray:
    """1 - outcome of the encoder that the predictor takes over the best, mean over groups, (B,)."""
    x, y = _grouped(x_BIT, scope), _grouped(y_BIT, scope)
    taken = np.take_along_axis(y, x.argmax(axis=2)[:, :, None], axis=2)[:, :, 0]
    return np.asarray((1 - taken / y.max(axis=2)).mean(axis=1))


def _random_regret(y_IT: np.ndarray, scope: str) -> float:
    y = _grouped(y_IT[None], scope)
    return float((1 - y.mean(axis=2) / y.max(axis=2)).mean())


def _interval(values: np.ndarray) -> list[float] | None:
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    return [round(end, 4) for end in percentile_interval(values, LEVEL)]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
