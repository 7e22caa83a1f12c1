"""Which worker writes which shard, and which one it prepares for; knows nothing of how workers are reached."""

import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Sequence

_AGAIN = 1.0  # seconds after which a shard that another process writes is tried again


class Dealer:
    """Deals pending shards to workers.

    Every worker has one shard to write, and where there are enough the next one reserved, whose rows it may prepare.
    At the end who has nothing takes what is reserved for others.

    Args:
        pending: numbers of shards.
        clock: gives seconds.
    """

    def __init__(self, pending: Sequence[int], clock: Callable[[], float] = time.monotonic) -> None:
        self._todo, self._clock = deque(pending), clock
        self._elsewhere: deque[tuple[float, int]] = deque()
        self._reserved: dict[Hashable, int] = {}
        self._losses: Counter[int] = Counter()
        self.left = set(pending)
        self.writing: dict[Hashable, int] = {}

    def deal(self, worker: Hashable) -> tuple[int, tuple[int, ...]] | None:
        """The shard that an idle worker is to write, and those after it; None if there is nothing now."""
        number = self._next(worker)
        if number is None:
            return None
        self.writing[worker] = number
        if self._todo:
            self._reserved[worker] = self._todo.popleft()
        ahead = self._reserved.get(worker)
        return number, () if ahead is None else (ahead,)

    def _next(self, worker: Hashable) -> int | None:
        if worker in self._reserved:
            return self._reserved.pop(worker)
        if self._todo:
            return self._todo.popleft()
        if self._reserved:
            return self._reserved.popitem()[1]
        if self._elsewhere and self._elsewhere[0][0] <= self._clock():
            return self._elsewhere.popleft()[1]
        return None

    def finished(self, worker: Hashable) -> int:
        """A worker has written its shard; gives its number."""
        number = self.writing.pop(worker)
        self.left.discard(number)
        return number

    def elsewhere(self, worker: Hashable) -> None:
        """Another process is writing the shard of a worker: it is tried again later."""
        self._elsewhere.append((self._clock() + _AGAIN, self.writing.pop(worker)))

    def lost(self, worker: Hashable) -> tuple[int, int]:
        """A worker was lost while it wrote: what it had is dealt to others first.

        Returns:
            The shard that it was writing, and how often a worker was lost over it.
        """
        if worker in self._reserved:
            self._todo.appendleft(self._reserved.pop(worker))
        number = self.writing.pop(worker)
        self._todo.appendleft(number)
        self._losses[number] += 1
        return number, self._losses[number]
