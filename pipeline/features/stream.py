"""An epoch of rows too many for memory: read window by window, mixed, and handed out in batches.

One thread reads the next window from the stores, nearly in order; another cuts the present one into batches. Memory
is two windows and a few batches, however many rows there are.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.features.ahead import ahead
from pipeline.features.memory import aligned_empty
from pipeline.features.shuffle import BlockShuffle, batch_sizes
from pipeline.features.span import Rows, row_bytes

Allocate = Callable[[tuple[int, ...], np.dtype[Any]], np.ndarray]
Share = Callable[[int], slice]

_BATCHES_AHEAD = 2
_LONG_RUN = 16  # consecutive rows from which a separate read beats a gather


@dataclass(frozen=True)
class Side:
    """One side of the pairs that are streamed.

    Attributes:
        rows: (P,) int64, for each pair its row in every one of `arrays`.
        arrays: what is read of a row.
    """

    rows: np.ndarray
    arrays: tuple[Rows, ...]


@dataclass(frozen=True)
class StreamedBatch:
    """A batch of pairs.

    Attributes:
        pairs: (B,) int64, which pairs.
        sides: per side, per array: (B, *row_shape).
    """

    pairs: np.ndarray
    sides: tuple[tuple[np.ndarray, ...], ...]


def window_blocks(sides: Sequence[Side], block: int, memory: int) -> int:
    """How many blocks of pairs two windows may hold in `memory` bytes; at least 1."""
    pair_bytes = sum(row_bytes(array) for side in sides for array in side.arrays)
    return max(1, memory // (2 * block * max(1, pair_bytes)))


def stream(
    sides: Sequence[Side],
    shuffle: BlockShuffle,
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    skip: int = 0,
    allocate: Allocate = aligned_empty,
    share: Share | None = None,
) -> Generator[StreamedBatch, None, None]:
    """The batches of one epoch, each pair exactly once, in the order of `shuffle.batches`.

    Close it, or drop it, to stop early: its threads end. Reading goes in order where the rows of a side rise with
    the pairs. An error met while reading is raised here.

    Args:
        sides: their `rows` have as many entries as `shuffle` has.
        skip: leave out that many batches at the beginning; their windows are not read.
        allocate: makes the arrays of a batch from shape and dtype, for example in pinned memory.
        share: which pairs of a batch of so many are wanted; the others are not read. None for all.
    """
    for side in sides:
        if len(side.rows) != shuffle.rows:
            raise ValueError(f"a side names {len(side.rows)} rows for {shuffle.rows} pairs")
    sizes = batch_sizes(shuffle.rows, batch_size)
    windows, sizes = shuffle.windows(seed, epoch, sum(sizes[:skip])), sizes[skip:]
    if share is not None:
        windows, sizes = _shared(windows, sizes, share), [len(range(size)[share(size)]) for size in sizes]
    read = ahead(_windows(sides, windows, shuffle.window_rows), depth=1)
    return ahead(_batches(read, sides, sizes, allocate), depth=_BATCHES_AHEAD)


def _shared(windows: Iterator[np.ndarray], sizes: Sequence[int], share: Share) -> Iterator[np.ndarray]:
    """Of the positions in each window those in the share of their batch."""
    wanted = np.zeros(sum(sizes), dtype=bool)
    for start, size in zip(np.cumsum(sizes) - sizes, sizes, strict=True):
        wanted[start : start + size][share(size)] = True
    first = 0
    for window in windows:
        inside = window[wanted[first : first + len(window)]]
        first += len(window)
        if len(inside):
            yield inside


@dataclass(frozen=True)
class _Window:
    """Pairs in their mixed order; per side the place of each in the arrays held, which hold no row twice."""

    pairs: np.ndarray
    places: tuple[np.ndarray, ...]
    held: tuple[tuple[np.ndarray, ...], ...]


def _windows(sides: Sequence[Side], windows: Iterator[np.ndarray], largest: int) -> Iterator[_Window]:
    """The windows of an epoch, of at most `largest` pairs, read alternately into two sets of buffers."""
    buffers = [
        [[aligned_empty((largest, *array.shape[1:]), array.dtype) for array in side.arrays] for side in sides]
        for _ in range(2)
    ]
    for number, pairs in enumerate(windows):
        places, held = [], []
        for side, buffer in zip(sides, buffers[number % 2], strict=True):
            rows, place = np.unique(side.rows[pairs], return_inverse=True)
            places.append(place)
            held.append(
                tuple(
                    read_sorted(array, rows, into[: len(rows)]) for array, into in zip(side.arrays, buffer, strict=True)
                )
            )
        yield _Window(pairs, tuple(places), tuple(held))


def read_sorted(array: Rows, rows: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Rising rows (n,) into `out` (n, *row_shape): run by run where the runs are long, else by a gather."""
    starts = np.flatnonzero(np.diff(rows, prepend=rows[:1] - 2) != 1)
    if len(rows) <= _LONG_RUN * len(starts):
        return array.take(rows, out=out)
    for start, stop in zip(starts, np.append(starts[1:], len(rows)), strict=True):
        array.read_range(int(rows[start]), int(rows[stop - 1]) + 1, out=out[start:stop])
    return out


def _batches(
    windows: Generator[_Window, None, None], sides: Sequence[Side], sizes: Sequence[int], allocate: Allocate
) -> Iterator[StreamedBatch]:
    """The windows cut into batches; a batch may take the end of one and the beginning of the next."""
    with closing(windows):
        window, used = _Window(np.empty(0, np.int64), (), ()), 0
        for size in sizes:
            pairs = np.empty(size, dtype=np.int64)
            out = tuple(tuple(allocate((size, *a.shape[1:]), a.dtype) for a in side.arrays) for side in sides)
            filled = 0
            while filled < size:
                if used == len(window.pairs):
                    window, used = next(windows), 0
                count = min(size - filled, len(window.pairs) - used)
                target_rows, window_rows = slice(filled, filled + count), slice(used, used + count)
                pairs[target_rows] = window.pairs[window_rows]
                for places, held, targets in zip(window.places, window.held, out, strict=True):
                    for values, target in zip(held, targets, strict=True):
                        # "clip" lets numpy write into `target` directly; the places are in range by construction.
                        np.take(values, places[window_rows], axis=0, out=target[target_rows], mode="clip")
                filled, used = filled + count, used + count
            yield StreamedBatch(pairs, out)
