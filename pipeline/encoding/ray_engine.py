"""Encodes pending shards in workers of a Ray cluster: one per GPU, or per some cores.

A worker holds a backbone and writes one shard at a time, and knows which one is next, so that it prepares that one's
rows meanwhile. What is lost with a worker is the shard that it was writing: another one writes it again.
"""

import logging
import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from pipeline.encoding.counts import Counts
from pipeline.encoding.dealing import Dealer
from pipeline.encoding.engine import Progress
from pipeline.encoding.modalities import EncodeJob
from pipeline.encoding.plan import Plan
from pipeline.encoding.planned import PlannedShards
from pipeline.encoding.rates import NodeRates
from pipeline.encoding.ray_cluster import Cluster, Lost, Pool, first_of, unwrapped
from pipeline.encoding.ray_worker import Home, Outcome, node_name
from pipeline.encoding.shard_encoder import Layout, forecast, remembered_layout
from pipeline.errors import StoreError
from pipeline.features.scratch import scratch_folder
from pipeline.work_folder import work_folder

log = logging.getLogger(__name__)
_POLL = 1.0  # seconds between two looks at the cluster
_LATE = 60.0  # seconds after which a shared file system should show what a node has written


class RayEngine:
    """Runs a job on a cluster, which is connected to when there is something to do; use as a context manager.

    Args:
        job: what is encoded.
    """

    def __init__(self, job: EncodeJob) -> None:
        self._job = job
        self._scratch = scratch_folder(job.fingerprint().digest)
        self._connected: Cluster | None = None
        self._pool: Pool | None = None

    def __enter__(self) -> "RayEngine":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._pool is not None:
            self._pool.stop()
        if self._connected is not None:
            self._connected.close()
        self._pool = self._connected = None

    def layout(self) -> Layout:
        """See `Engine`; a worker makes it, since this machine may have no GPU."""
        found = remembered_layout(self._scratch)
        if found is None:
            found = self._ask("layout")
            assert found is not None
        return found

    def forecast(self, plan: Plan, layout: Layout) -> int:
        """See `Engine`."""
        return forecast(plan, layout, lambda ids: self._ask("tokens", tuple(ids)))

    def write(
        self, pending: Sequence[int], shards: PlannedShards, layout: Layout, counts: Counts, progress: Progress
    ) -> None:
        """See `Engine`."""
        self._of_one_size(layout)
        pool, dealer, rates = self._workers(), Dealer(pending), NodeRates()
        title, running = getattr(progress, "desc", ""), {}
        while dealer.left:
            pool.fill(len(dealer.left))
            for worker, node in pool.ready.items():
                if worker not in dealer.writing and (dealt := dealer.deal(worker)) is not None:
                    number, ahead = dealt
                    running[worker.write.remote(number, shards.keys[number], ahead, shards.shard_rows)] = worker
                    rates.began(node)
            done = first_of([*pool.starting(), *running], _POLL)
            if done is None or pool.started(done):
                continue
            worker = running.pop(done)
            try:
                outcome: Outcome = unwrapped(done)
            except Lost as error:
                self._lose(worker, pool, dealer, shards, error)
                continue
            if outcome.counts is None:
                dealer.elsewhere(worker)
                continue
            pool.worked()
            counts.add(outcome.counts)
            number = dealer.finished(worker)
            self._require_visible(number, shards, pool.ready[worker])
            rates.finished(pool.ready[worker], rows := shards.rows([number]))
            progress.set_description_str(f"{title} ({rates.now(pool.ready.values())})", refresh=False)
            progress.update(rows)
        for line in rates.lines():
            log.info("%s: %s", title, line)

    def _lose(self, worker: Any, pool: Pool, dealer: Dealer, shards: PlannedShards, error: Lost) -> None:
        """Give the shard of a lost worker to others.

        Raises:
            StoreError: too many were lost over this one.
        """
        node, (number, times) = pool.ready[worker], dealer.lost(worker)
        said = " ".join(str(error).split())
        if times > self._job.settings.encode.ray.max_retries:
            raise StoreError(
                f"engine: ray: {times} workers were lost while they wrote shard {number} (of {len(shards)}), more than "
                f"encode.ray.max_retries allows. Does it need more memory than a worker has? The last was on {node}. "
                f"Ray says: {said[-500:]}"
            ) from error
        pool.lose(worker, error)
        log.warning("engine: ray: a worker on %s was lost; shard %d is written again", node, number)

    def _of_one_size(self, layout: Layout) -> None:
        """A batch size that was found once holds for all workers, also on other GPUs: the store records one."""
        encode, size = self._job.settings.encode, layout.notes.get("batch_size")
        found = {key: size for key in ("batch_size", "text_batch_size") if getattr(encode, key) == "auto" and size}
        if found:
            self._job = self._job.changed(**found)
            if self._pool is not None:
                self._pool.stop()
                self._pool = None

    def _workers(self) -> Pool:
        if self._connected is None:
            encode = self._job.settings.encode
            self._connected = Cluster(encode.ray, encode.device)
        if self._pool is None:
            encode, cluster = self._job.settings.encode, self._connected
            changes: dict[str, object] = {}
            if encode.workers == "auto":
                changes["workers"] = cluster.cpus
            if cluster.gpus:
                changes["device"] = "cuda"  # the one that a worker sees
            elif encode.device == "auto" and sys.platform == "linux":
                changes["device"] = "cpu"  # also where there is a GPU that Ray was not given
            job, home = self._job.changed(**changes), Home.here(work_folder())
            self._pool = Pool(cluster, home, job, max_failures=encode.ray.max_retries)
        return self._pool

    def _ask(self, method: str, *arguments: Any) -> Any:
        """Have one worker do something, and another one should it be lost."""
        pool = self._workers()
        while True:
            pool.fill(1)
            if not pool.ready:
                if (started := first_of(pool.starting(), _POLL)) is not None:
                    pool.started(started)
                continue
            worker = next(iter(pool.ready))
            try:
                return unwrapped(getattr(worker, method).remote(*arguments))
            except Lost as error:
                pool.lose(worker, error)

    def _require_visible(self, number: int, shards: PlannedShards, node: str) -> None:
        """Check that what a node has written is here; a network file system may show it a little later.

        Raises:
            StoreError: it is not.
        """
        until = time.monotonic() + _LATE
        while shards.find(number) is None:
            # a network file system may remember that it was not there, and asks again when the folder is listed
            list(shards.scratch.iterdir())
            if shards.find(number) is not None:
                return
            if time.monotonic() > until:
                raise StoreError(
                    f"engine: ray: {node} has written a shard into {shards.scratch}, but it is not there on "
                    f"{node_name()}. Is the folder on a file system that the nodes share?"
                )
            time.sleep(_POLL)
