"""The best rows of a pool for every concept: exact, block by block, on a CPU or a GPU, in memory that does not grow."""

import os
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch

from pipeline.arithmetic import own_arithmetic
from pipeline.curation.products import (
    LEAST_LENGTH,
    CoarseProducts,
    Float32Products,
    Products,
    coarse_is_faster,
    coarse_rounding,
    float32_rounding,
)
from pipeline.curation.retrieval import Candidates
from pipeline.curation.running import RunningTopK
from pipeline.curation.vectors import Block, PoolVectors
from pipeline.device import choose_device
from pipeline.features.ahead import ahead
from pipeline.progress import tqdm

SCORE_BYTES = {"cpu": 4 << 20, "cuda": 1 << 30, "mps": 256 << 20}  # of a block: a cache of the CPU, memory of a GPU
_LEAST_BLOCK, _MOST_BLOCK = 256, 65536  # rows
_EXACT = 1024  # rows that are read together to be compared exactly
_MOST_THREADS = 8
_LEAST_ROOM = 1024  # rows of each concept
_WORTH_A_TRIAL = 16  # blocks


def block_rows(concepts: int, device: str) -> int:
    """Rows that are multiplied with the prototypes of so many concepts at once."""
    fitting = SCORE_BYTES[device.partition(":")[0]] // (4 * max(1, concepts))
    return min(max(_LEAST_BLOCK, fitting // 64 * 64), _MOST_BLOCK)


def retrieve_streamed(
    pool: PoolVectors,
    prototypes: np.ndarray,
    k: int,
    *,
    device: str = "cpu",
    blocks: Sequence[Block] | None = None,
    progress: str | None = None,
) -> Candidates:
    """The `k` rows of a pool nearest to each prototype by cosine; of equal cosines those with the lower positions.

    A product in float32, or in bfloat16 on processors that multiply it faster, finds what may be among the nearest by
    the bound on its rounding; products in float64 put it in order. So the result is that of a full sort, and neither
    the order of blocks nor their size, the number of threads or the device changes a bit. Rows that are not finite are
    not found. Memory is that of `k` candidates a concept, two or three times, and of two blocks.

    Args:
        prototypes: (C, D) unit vectors.
        blocks: what is read, in this order; all of the pool where None.
        device: auto, cpu, cuda, cuda:1 or mps.
        progress: a title for a bar over the rows, if there is to be one.
    """
    device = choose_device(device)
    queries = np.ascontiguousarray(prototypes, dtype=np.float32)
    concepts = len(queries)
    if not concepts or k < 1:
        return Candidates(np.empty((concepts, 0), np.int64), np.empty((concepts, 0), np.float32))
    asked = pool.blocks(block_rows(concepts, device)) if blocks is None else list(blocks)
    size = max((block.stop - block.start for block in asked), default=1)
    room = min(size, max(2 * k, _LEAST_ROOM))
    threads = torch.get_num_threads() if device == "cpu" else 1
    coarse = device == "cpu" and len(asked) >= _WORTH_A_TRIAL and coarse_is_faster(*queries.shape)
    roundings = [*([coarse_rounding(queries)] if coarse else []), float32_rounding(queries)]
    running = RunningTopK(concepts, k, room, partial(exact_cosines, pool, queries), roundings)

    def levels() -> list[Products]:
        fine: list[Products] = [Float32Products(queries, size, device)]
        return [CoarseProducts(queries, size), *fine] if coarse else fine

    rows = sum(block.stop - block.start for block in asked)
    with own_arithmetic(), tqdm(total=rows, desc=progress, disable=progress is None) as bar:
        _scan(pool.stream(asked, fresh=threads > 1), running, levels, threads, bar.update)
    return Candidates(*running.best())


def _scan(
    stream: Iterator[tuple[int, np.ndarray]],
    running: RunningTopK,
    levels: Callable[[], list[Products]],
    threads: int,
    done: Callable[[int], object],
) -> None:
    """Pass blocks through, on a CPU each in one thread from products to candidates: two cores are busy all the time."""
    reading, adding = threading.Lock(), threading.Lock()
    blocks = ahead(stream, depth=threads)

    def work() -> None:
        take = _Taking(running, levels(), adding)
        while True:
            with reading:
                first, rows = next(blocks, (0, None))
            if rows is None:
                return
            take(first, rows)
            with reading:
                done(len(rows))

    try:
        if threads == 1:
            work()
            return
        with _single_threads(threads) as workers:
            for one in [workers.submit(work) for _ in range(threads)]:
                one.result()
    finally:
        blocks.close()


@contextmanager
def _single_threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """Threads in each of which PyTorch computes alone; it computes in as many as before afterwards."""
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as threads:
            yield threads
    finally:
        torch.set_num_threads(before)


def merged(parts: Sequence[Candidates], k: int) -> Candidates:
    """The best of several retrievals over different rows of one pool: as if it had been one."""
    rows = np.concatenate([part.rows for part in parts], axis=1)
    scores = np.concatenate([part.scores for part in parts], axis=1)
    order = np.lexsort((rows, -scores), axis=1)[:, :k]
    return Candidates(np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1))


class _Taking:
    """Takes blocks of rows into the candidates, by coarse products as long as these let them; of one thread.

    Args:
        levels: products, as many as the candidates have levels.
    """

    def __init__(self, running: RunningTopK, levels: list[Products], adding: threading.Lock) -> None:
        self._running, self._levels, self._adding = running, levels, adding

    def __call__(self, first: int, rows: np.ndarray) -> None:
        """Take in rows (n, D) from position `first` on; in halves while nearly every row is still among the best."""
        level = self._running.level
        scores, spans = self._levels[level](rows), [(0, len(rows))]
        while spans:
            start, stop = spans.pop()
            if self._added(level, first + start, scores[:, start:stop]):
                continue
            if level < self._running.level:  # what is in stays
                level = self._running.level
                scores = self._levels[level](rows)
                spans.append((start, stop))
            else:
                middle = (start + stop) // 2
                spans += [(middle, stop), (start, middle)]

    def _added(self, level: int, first: int, scores: torch.Tensor) -> bool:
        for _ in range(2):  # the second time with what is least now
            owner, place, found = self._levels[level].hits(scores, self._running.least)
            counts = np.bincount(owner, minlength=len(scores))
            with self._adding:
                if level < self._running.level:
                    return False
                if self._running.room(counts):
                    self._running.add(owner, first + place, found, counts)
                    return True
        return False


def exact_cosines(pool: PoolVectors, queries: np.ndarray, owner: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Cosines (n,) float32 of queries `owner` (n,) with the rows at positions (n,), summed in float64."""
    out = np.empty(len(rows), np.float32)
    order = np.argsort(rows, kind="stable")
    positions = rows[order]
    fresh = np.flatnonzero(np.diff(positions, prepend=-1))  # where a row comes for the first time
    edges = [*fresh[::_EXACT].tolist(), len(positions)]
    wide = torch.from_numpy(queries.astype(np.float64)).T

    def piece(start: int, stop: int) -> None:
        first = fresh[np.searchsorted(fresh, start) : np.searchsorted(fresh, stop)]
        vectors = pool.take(positions[first]).astype(np.float64)
        lengths = np.maximum(np.sqrt(np.einsum("ij,ij->i", vectors, vectors)), LEAST_LENGTH)
        ends = np.append(first - start, stop - start)
        wanted = torch.sparse_csr_tensor(
            torch.from_numpy(ends),
            torch.from_numpy(owner[order[start:stop]]),
            torch.zeros(stop - start, dtype=torch.float64),
            (len(first), len(queries)),
            check_invariants=False,
        )
        products = torch.sparse.sampled_addmm(wanted, torch.from_numpy(vectors), wide, beta=0.0).values().numpy()
        out[order[start:stop]] = products / np.repeat(lengths, np.diff(ends))

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        with _single_threads(min(_MOST_THREADS, os.cpu_count() or 1)) as threads:
            list(threads.map(piece, edges[:-1], edges[1:]))
    return out
