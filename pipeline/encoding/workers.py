"""Worker threads that encode batches in parallel, start ahead of demand and return results in order.

On the CPU each thread processes a whole batch, decoding included, on one core: no thread waits for another inside an
operation, and a feature does not depend on the number of cores. On a GPU, threads decode while two batches occupy the
device, each in its own stream, so that one is copied to the host while the other is computed.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain, islice
from queue import SimpleQueue
from typing import Any, Generic, Literal, TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")
_MAX_WORKERS = 16  # threads that decode for a GPU under `auto`
_SLOTS = 2  # batches on a GPU at once


def count_workers(workers: int | Literal["auto"], device: str) -> int:
    """Number of encoding threads: as given, or for `auto` as many as torch computes with; 0 is the calling thread."""
    if workers != "auto":
        return workers
    if device == "cpu":
        return torch.get_num_threads()
    return min(_MAX_WORKERS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


class DeviceSlots:
    """Limits how many batches use the device at once: on a GPU a few, each in its own stream; on the CPU no limit."""

    def __init__(self, device: str) -> None:
        self._free: SimpleQueue[Any] | None = None
        kind = torch.device(device).type
        if kind == "cpu":
            return
        self._free = SimpleQueue()
        if kind == "cuda":
            torch.cuda.synchronize(device)  # weights were copied in another stream
            for _ in range(_SLOTS):
                self._free.put(torch.cuda.stream(torch.cuda.Stream(device)))  # type: ignore[no-untyped-call]
        else:
            self._free.put(None)

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Wait for a free slot and hold it."""
        if self._free is None:
            yield
            return
        stream = self._free.get()
        try:
            if stream is None:
                yield
            else:
                with stream:
                    yield
        finally:
            self._free.put(stream)


class OrderedWorkers(Generic[Item, Result]):
    """Results of `work` in the order of its items.

    Args:
        work: computes the result of one item (a batch); called from several threads.
        workers: number of threads; 0 works in the calling thread, when a result is requested.
    """

    def __init__(self, work: Callable[[Item], Result], workers: int) -> None:
        self._work, self._depth = work, workers + 1
        self._pool = ThreadPoolExecutor(workers, "encode", initializer=one_core) if workers else None
        self._started: deque[tuple[Item, Future[Result]]] = deque()

    def results(self, items: Sequence[Item], following: Iterable[Item] = ()) -> Iterator[Result]:
        """The result of each of `items`.

        Args:
            following: what will be requested next. Work on it starts while the last of `items` are awaited, so that
                no thread is idle between two calls; whatever is not requested after all is dropped.
        """
        if self._pool is None:
            yield from map(self._work, items)
            return
        ahead = chain(items, following)
        begin = list(islice(ahead, len(self._started)))
        if begin == [item for item, _ in self._started]:
            waiting = ahead
        else:
            self.drop()
            waiting = chain(begin, ahead)
        for _ in items:
            for item in islice(waiting, self._depth - len(self._started)):
                self._started.append((item, self._pool.submit(self._work, item)))
            yield self._started.popleft()[1].result()

    def drop(self) -> None:
        """Discard what was started and not requested."""
        while self._started:
            self._started.popleft()[1].cancel()


def one_core() -> None:
    """Limit the calling thread to one core.

    Image processors based on torchvision run tensor operations, each of which would otherwise start as many threads as
    there are cores, in every worker. OpenMP's limit belongs to the calling thread, MKL's to the process.
    """
    torch.set_num_threads(1)


def to_host(values: torch.Tensor) -> Any:
    """A tensor as float32 numpy array; from a GPU through pinned memory, which copies at full bus bandwidth."""
    if values.device.type != "cuda":
        return values.float().cpu().numpy()
    host = torch.empty(values.shape, dtype=torch.float32, pin_memory=True)
    host.copy_(values, non_blocking=True)
    torch.cuda.current_stream(values.device).synchronize()
    return host.numpy()


def pinned(batch: torch.Tensor, device: str) -> torch.Tensor:
    """A batch in pinned memory if it goes to a GPU."""
    return batch.pin_memory() if torch.device(device).type == "cuda" else batch
