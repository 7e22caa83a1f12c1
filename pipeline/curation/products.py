"""Products of rows with all prototypes, exact or coarse, and which of them reach what is least."""

import time
from typing import NamedTuple, Protocol

import numpy as np
import torch

_FLOAT32, _BFLOAT16 = 2.0**-24, 2.0**-8  # the most that rounding changes a number, as a share of it
_TRIALS = 5
_TRIAL_ROWS = 256
_WORTH = 1.3  # times as fast as float32
LEAST_LENGTH = 1e-12


class Rounding(NamedTuple):
    """The most that the score s of query q is off: `absolute[q] + relative * |s|`."""

    absolute: np.ndarray
    relative: float


class Products(Protocol):
    """Cosines of rows with all queries."""

    def __call__(self, rows: np.ndarray) -> torch.Tensor:
        """Cosines (Q, n) of the rows (n, D), in memory that the next call uses again."""

    def hits(self, scores: torch.Tensor, least: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Query and column (n,) int64 and score (n,) float32 of scores (Q, n) not below `least` (Q,), by query."""


def float32_rounding(queries: np.ndarray) -> Rounding:
    """Of unit vectors (Q, D): a sum of D products is off by D units in whatever order, lengths are rounded as well."""
    return Rounding(np.full(len(queries), (queries.shape[1] + 4) * _FLOAT32), 0.0)


def coarse_rounding(queries: np.ndarray) -> Rounding:
    """Of unit vectors (Q, D): a product is off by the lengths of what rounding took off its factors, and is rounded."""
    narrow = torch.from_numpy(queries).bfloat16().double().numpy()
    lost = np.linalg.norm(narrow - queries, axis=1)
    summed = float32_rounding(queries).absolute
    return Rounding(lost + _BFLOAT16 * (1 + lost) + 2 * summed, _BFLOAT16 * (1 + 2 * _BFLOAT16))


class Float32Products:
    """Products in float32 on any device."""

    def __init__(self, queries: np.ndarray, size: int, device: str) -> None:
        self._queries = torch.from_numpy(queries).to(device)
        self._rows = _UnitRows(size, queries.shape[1], device)
        self._scores = torch.empty(len(queries) * size, dtype=torch.float32, device=device)
        self._above = np.empty(len(queries) * size if device == "cpu" else 0, bool)

    def __call__(self, rows: np.ndarray) -> torch.Tensor:
        out = self._scores[: len(self._queries) * len(rows)].view(len(self._queries), len(rows))
        return torch.mm(self._queries, self._rows(rows).T, out=out)

    def hits(self, scores: torch.Tensor, least: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if scores.device.type != "cpu":
            at = (scores >= torch.from_numpy(least).to(scores.device)[:, None]).nonzero()
            owner, place = at.cpu().numpy().T
            return owner, place, scores[at[:, 0], at[:, 1]].cpu().numpy()
        owner, place = _reaching(scores.numpy(), least[:, None], self._above)
        return owner, place, scores.numpy()[owner, place]


class CoarseProducts:
    """Products in bfloat16, for processors that multiply it at twice the speed: what may be a hit, at less cost."""

    def __init__(self, queries: np.ndarray, size: int) -> None:
        self._queries = torch.from_numpy(queries).bfloat16()
        self._rows = _UnitRows(size, queries.shape[1], "cpu")
        self._narrow = torch.empty((size, queries.shape[1]), dtype=torch.bfloat16)
        self._scores = torch.empty(len(queries) * size, dtype=torch.bfloat16)
        self._above = np.empty(len(queries) * size, bool)

    def __call__(self, rows: np.ndarray) -> torch.Tensor:
        narrow = self._narrow[: len(rows)]
        narrow.copy_(self._rows(rows))
        out = self._scores[: len(self._queries) * len(rows)].view(len(self._queries), len(rows))
        return torch.mm(self._queries, narrow.T, out=out)

    def hits(self, scores: torch.Tensor, least: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if least.min(initial=0.0) < 0:
            wide = scores.float().numpy()
            owner, place = _reaching(wide, least[:, None], self._above)
            return owner, place, wide[owner, place]
        # numbers of bfloat16 from 0 on are in the order of their bits, and those below have a bit for the sign
        bits = scores.view(torch.int16).numpy()
        lower = (np.ascontiguousarray(least).view(np.int32) >> 16).astype(np.int16)
        owner, place = _reaching(bits, lower[:, None], self._above)
        found = (bits[owner, place].astype(np.int32) << 16).view(np.float32)
        kept = found >= least[owner]  # what is not a number has the bits of a large one
        return owner[kept], place[kept], found[kept]


class _UnitRows:
    """Rows at unit length in float32, in memory that is used again."""

    def __init__(self, size: int, width: int, device: str) -> None:
        self._wide = torch.empty((size, width), dtype=torch.float32, device=device)

    def __call__(self, rows: np.ndarray) -> torch.Tensor:
        wide = self._wide[: len(rows)]
        wide.copy_(torch.from_numpy(rows))
        wide /= torch.linalg.vector_norm(wide, dim=1, keepdim=True).clamp_(min=LEAST_LENGTH)
        return wide


def _reaching(scores: np.ndarray, least: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns (n,) int64 of scores that are not below what is least in their row, row by row."""
    # NumPy takes half the time that PyTorch does on one core, in memory that is there already
    above = mask[: scores.size].reshape(scores.shape)
    np.greater_equal(scores, least, out=above)
    flat = np.flatnonzero(above)
    owner = flat // scores.shape[1]
    return owner, flat - owner * scores.shape[1]


def coarse_is_faster(queries: int, width: int) -> bool:
    """Whether this processor multiplies bfloat16 much faster than float32, by a trial of some milliseconds."""
    taken = []
    for dtype in (torch.float32, torch.bfloat16):
        a, b = (torch.ones((count, width), dtype=dtype) for count in (queries, _TRIAL_ROWS))
        out = torch.empty((queries, _TRIAL_ROWS), dtype=dtype)
        times = []
        for _ in range(_TRIALS):
            begun = time.perf_counter()
            torch.mm(a, b.T, out=out)
            times.append(time.perf_counter() - begun)
        taken.append(min(times))
    return taken[0] > _WORTH * taken[1]
