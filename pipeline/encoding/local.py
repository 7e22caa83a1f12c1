"""Encodes pending shards in this process, beside other processes that may work on the same ones."""

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from pipeline.encoding.counts import Counts
from pipeline.encoding.engine import Progress
from pipeline.encoding.plan import Plan
from pipeline.encoding.planned import PlannedShards
from pipeline.encoding.rowcache import RowCache
from pipeline.encoding.shard_encoder import Layout, ShardEncoder, forecast
from pipeline.features.claims import Claim
from pipeline.features.shards import ScratchShard

log = logging.getLogger(__name__)


class LocalEngine:
    """One backbone in this process, with the workers of `EncodeParams`.

    Args:
        encoder: encodes single shards.
    """

    def __init__(self, encoder: ShardEncoder) -> None:
        self._encoder = encoder

    def layout(self) -> Layout:
        """See `Engine`."""
        return self._encoder.layout()

    def forecast(self, plan: Plan, layout: Layout) -> int:
        """See `Engine`."""
        return forecast(plan, layout, self._encoder.tokens)

    def write(
        self, pending: Sequence[int], shards: PlannedShards, layout: Layout, counts: Counts, progress: Progress
    ) -> None:
        """See `Engine`."""
        cache = RowCache(shards.scratch, layout.stored, shards.ids_of(pending))
        queue = Claims(pending, shards, lambda number: progress.update(len(shards.ids(number))))
        previous: Future[ScratchShard] | None = None
        try:
            with ThreadPoolExecutor(1, thread_name_prefix="publish") as publisher:
                while (number := queue.next()) is not None:
                    later = (shards.ids(ahead) for ahead in queue.ahead())
                    shard = self._encoder.write(
                        shards.ids(number), later, shards.shard_rows, layout, cache, counts, publisher, progress.update
                    )
                    shard.add_done_callback(queue.releasing(number))
                    if previous is not None:
                        previous.result()
                    previous = shard
                if previous is not None:
                    previous.result()
        finally:
            queue.release_all()


class Claims:
    """Gives out the shards that this process is to write, each of them claimed.

    Shards that another process is writing are left for the end, and then waited for: should it not finish them, they
    are written here.

    Args:
        pending: numbers of shards.
        finished: told the number of each that another process has finished.
    """

    def __init__(self, pending: Sequence[int], shards: PlannedShards, finished: Callable[[int], object]) -> None:
        self._todo, self._shards, self._finished = deque(pending), shards, finished
        self._ready: deque[int] = deque()
        self._elsewhere: deque[int] = deque()
        self._claims: dict[int, Claim] = {}
        self._waiting = False

    def next(self) -> int | None:
        """The shard to write now; None when all are finished."""
        if self._ready:
            return self._ready.popleft()
        number = self._claimed(self._todo, wait=False)
        if number is None and self._elsewhere:
            if not self._waiting:
                log.info("waiting for %d shards that other processes write", len(self._elsewhere))
            self._waiting = True
            number = self._claimed(self._elsewhere, wait=True)
        return number

    def ahead(self) -> Iterator[int]:
        """The shards that `next` will give after this one, claimed as they are asked for."""
        yield from tuple(self._ready)
        while (number := self._claimed(self._todo, wait=False)) is not None:
            self._ready.append(number)
            yield number

    def releasing(self, number: int) -> Callable[[object], None]:
        """A callback that lets others have a shard, once it is published or has failed."""

        def release(_: object) -> None:
            self._claims.pop(number).release()

        return release

    def release_all(self) -> None:
        """Let others have what was claimed and not written."""
        for claim in self._claims.values():
            claim.release()
        self._claims.clear()

    def _claimed(self, numbers: deque[int], *, wait: bool) -> int | None:
        while numbers:
            number = numbers.popleft()
            claim = Claim.take(self._shards.scratch, self._shards.keys[number], wait=wait)
            if claim is None:
                self._elsewhere.append(number)
                continue
            if self._shards.find(number) is not None:
                claim.release()
                self._finished(number)
                continue
            self._claims[number] = claim
            return number
        return None
