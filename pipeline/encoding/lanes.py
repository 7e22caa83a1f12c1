"""Batches that are encoded side by side, begun before they are asked for and given back in order.

On the CPU each thread takes a whole batch, decoding included, on one core: no thread waits for another inside an
operation, and a feature does not depend on how many cores there are. On a GPU threads decode while two batches are on
the device, each in a stream of its own, so that one is copied to the host while the other is computed.
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
_MOST = 16  # threads that decode for a GPU, unless told otherwise
_ON_DEVICE = 2  # batches that are on a GPU at once


def count_workers(workers: int | Literal["auto"], device: str) -> int:
    """How many threads encode: as given, or for auto as many as torch computes with; 0 is the calling thread alone."""
    if workers != "auto":
        return workers
    if device == "cpu":
        return torch.get_num_threads()
    return min(_MOST, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


class Turns:
    """Who may use the device now: on a GPU a few batches at once, each in its own stream; on the CPU everybody."""

    def __init__(self, device: str) -> None:
        self._free: SimpleQueue[Any] | None = None
        kind = torch.device(device).type
        if kind == "cpu":
            return
        self._free = SimpleQueue()
        if kind == "cuda":
            torch.cuda.synchronize(device)  # weights were copied in another stream
            for _ in range(_ON_DEVICE):
                self._free.put(torch.cuda.stream(torch.cuda.Stream(device)))  # type: ignore[no-untyped-call]
        else:
            self._free.put(None)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a turn and hold it."""
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


class Lanes(Generic[Item, Result]):
    """Results of `work` in the order of its items.

    Args:
        work: from one item, a batch, to its result; it is called from several threads.
        workers: threads; 0 works in the calling thread, when a result is asked for.
    """

    def __init__(self, work: Callable[[Item], Result], workers: int) -> None:
        self._work, self._depth = work, workers + 1
        self._pool = ThreadPoolExecutor(workers, "encode", initializer=one_core) if workers else None
        self._begun: deque[tuple[Item, Future[Result]]] = deque()

    def results(self, items: Sequence[Item], following: Iterable[Item] = ()) -> Iterator[Result]:
        """The result of each of `items`.

        Args:
            following: what will be asked for next. It is begun while the last of `items` are awaited, so that no
                thread is idle between two calls; what is not asked for after all is dropped.
        """
        if self._pool is None:
            yield from map(self._work, items)
            return
        if [item for item, _ in self._begun] != list(items[: len(self._begun)]):
            self.drop()
        waiting = islice(chain(items, following), len(self._begun), None)
        for _ in items:
            for item in islice(waiting, self._depth - len(self._begun)):
                self._begun.append((item, self._pool.submit(self._work, item)))
            yield self._begun.popleft()[1].result()

    def drop(self) -> None:
        """Forget what was begun and not asked for."""
        while self._begun:
            self._begun.popleft()[1].cancel()


def one_core() -> None:
    """Let a thread use one core.

    Processors of torchvision's kind run tensor operations, which would otherwise start as many threads as there are
    cores in each of as many lanes. OpenMP's limit belongs to the calling thread, MKL's to the process.
    """
    torch.set_num_threads(1)


def to_host(values: torch.Tensor) -> Any:
    """A tensor as float32 numpy array; from a GPU through pinned memory, which copies at the full rate of the bus."""
    if values.device.type != "cuda":
        return values.float().cpu().numpy()
    host = torch.empty(values.shape, dtype=torch.float32, pin_memory=True)
    host.copy_(values, non_blocking=True)
    torch.cuda.current_stream(values.device).synchronize()
    return host.numpy()


def stacked(images: Sequence[torch.Tensor], device: str) -> torch.Tensor:
    """Prepared images (3, H, W) as one batch, in pinned memory where it goes to a GPU."""
    batch = torch.stack(list(images))
    return batch.pin_memory() if torch.device(device).type == "cuda" else batch
