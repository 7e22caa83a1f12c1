"""A Ray cluster: the one that is named, or one of this machine alone; how many workers fit, and starting them.

Ray is an extra, and this module is imported only where it is asked for.
"""

import logging
import os
import time
from typing import Any

from pipeline.config.stores import RayParams
from pipeline.encoding.ray_worker import Worker
from pipeline.errors import ConfigError, StoreError

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # or Ray reports to its makers
try:
    import ray
    from ray.exceptions import RayActorError as Lost
except ImportError as error:
    raise ConfigError(
        f"encode.engine: ray needs Ray ({error}). Run: pip install 'permafrost-align[ray]' (in a clone: pip install -e "
        "'.[ray]'). Without it, `engine: local` encodes here, and +part=1/8 shares the work among jobs."
    ) from error

__all__ = ["Cluster", "Lost", "Pool", "first_of", "unwrapped"]
log = logging.getLogger(__name__)
_OBJECT_STORE = 100 << 20  # bytes; nothing large goes through it
_MOST_CPUS = {True: 16, False: 8}  # of a worker under `auto`, with a GPU or without
_LOOK = 1.0  # seconds between two looks for room
_PATIENCE = 30.0  # seconds between two words about workers that do not start


class Cluster:
    """A connection to a cluster.

    Args:
        params: its address, and what a worker gets.
        device: as `EncodeParams.device`.

    Attributes:
        cpus, gpus: of each worker.

    Raises:
        ConfigError: it cannot be reached, or none of its nodes can hold a worker.
    """

    def __init__(self, params: RayParams, device: str) -> None:
        self._retries = params.max_retries
        self._mine = not ray.is_initialized()
        if self._mine:
            _connect(params.address or os.environ.get("RAY_ADDRESS") or "local")
        nodes = self._nodes()
        wants_gpu = device.startswith("cuda") or (device == "auto" and any(node.get("GPU", 0) >= 1 for node in nodes))
        self.gpus = int(wants_gpu)
        self.cpus = _cpus(params, nodes, wants_gpu)
        if not any(self._fit(node) for node in nodes):
            found = "; ".join(f"{node.get('CPU', 0):g} CPUs, {node.get('GPU', 0):g} GPUs" for node in nodes)
            self.close()
            raise ConfigError(
                f"engine: ray: a worker takes {self.cpus} CPUs{' and a GPU' * wants_gpu}, and no node of the cluster "
                f"has so much. Its nodes: {found or 'none'}. Lower encode.ray.cpus, or set encode.device."
            )

    def close(self) -> None:
        """Disconnect, and stop a cluster that was started here."""
        if self._mine and ray.is_initialized():
            ray.shutdown()

    def room(self) -> int:
        """How many workers fit into all nodes that are alive, if nobody else uses them."""
        return sum(self._fit(node) for node in self._nodes())

    def start(self, *arguments: Any) -> Any:
        """A new worker, which waits for free CPUs if need be; a lost one does not come back, another is started."""
        options = {"num_cpus": self.cpus, "num_gpus": self.gpus, "max_restarts": 0, "max_task_retries": 0}
        return ray.remote(Worker).options(**options).remote(*arguments)

    def _fit(self, node: dict[str, float]) -> int:
        by_cpu = int(node.get("CPU", 0) // self.cpus)
        return min(by_cpu, int(node.get("GPU", 0))) if self.gpus else by_cpu

    def _nodes(self) -> list[dict[str, float]]:
        return [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]


def _connect(address: str) -> None:
    options: dict[str, Any] = {}
    if address == "local":
        options = {"include_dashboard": False, "object_store_memory": _OBJECT_STORE, "_node_ip_address": "127.0.0.1"}
    try:
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, **options)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        said = " ".join(str(error).split())[:300]
        raise ConfigError(
            f"engine: ray: no cluster can be used at {address!r} ({said}). Start one with `ray start --head` on this "
            "machine, correct encode.ray.address or RAY_ADDRESS, or leave both out for one of this machine alone. "
            "If one is there that asks for a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH to the file of it."
        ) from error


def _cpus(params: RayParams, nodes: list[dict[str, float]], gpu: bool) -> int:
    if params.cpus != "auto":
        return params.cpus
    divided = [(node.get("CPU", 0), node.get("GPU", 0) if gpu else 1) for node in nodes]
    usable = [int(cpus // among) for cpus, among in divided if among and cpus >= among]
    return min([*usable, _MOST_CPUS[gpu]]) if usable else 1


class Pool:
    """Workers that are ready, as many as fit; lost ones are replaced where there is room.

    A worker that is lost with its node is started again only where CPUs are free. Where there are none, the others
    take its shards.

    Args:
        arguments: of `Worker`.
    """

    def __init__(self, cluster: Cluster, *arguments: Any, max_failures: int) -> None:
        self._cluster, self._arguments, self._max_failures = cluster, arguments, max_failures
        self._starting: dict[Any, Any] = {}  # what tells that it has started -> the worker
        self._failures = 0
        self._next_look = 0.0
        self._told = time.monotonic()
        self.ready: dict[Any, str] = {}  # the worker -> its node

    def fill(self, wanted: int) -> None:
        """Start workers until there are as many as are wanted or fit."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + _LOOK
        for _ in range(min(wanted, self._cluster.room()) - len(self.ready) - len(self._starting)):
            worker = self._cluster.start(*self._arguments)
            self._starting[worker.enter.remote()] = worker
        if not self.ready and now - self._told > _PATIENCE:
            self._told = now
            log.warning("engine: ray: no worker has started yet; the nodes are busy or gone")

    def starting(self) -> list[Any]:
        """What to wait for."""
        return list(self._starting)

    def started(self, reference: Any) -> bool:
        """Take in a worker that has started or failed to; False if `reference` is none of `starting`.

        Raises:
            ConfigError: its machine lacks the project.
            StoreError: workers cannot be started, again and again.
        """
        worker = self._starting.pop(reference, None)
        if worker is None:
            return False
        try:
            node = unwrapped(reference)
        except Lost as error:
            self._count(error)
            return True
        self.ready[worker] = node
        return True

    def worked(self) -> None:
        """A worker has done something."""
        self._failures = 0

    def lose(self, worker: Any, error: Lost) -> None:
        """Drop a worker that was lost.

        Raises:
            StoreError: workers are lost again and again before any has done something.
        """
        self.ready.pop(worker, None)
        ray.kill(worker)
        self._count(error)

    def stop(self) -> None:
        """End all workers."""
        for worker in (*self.ready, *self._starting.values()):
            ray.kill(worker)
        self.ready.clear()
        self._starting.clear()

    def _count(self, error: Lost) -> None:
        self._failures += 1
        if self._failures <= self._max_failures:
            return
        said = " ".join(str(error).split())[-500:]
        if not self.ready:
            raise StoreError(
                f"engine: ray: {self._failures} workers in a row were lost before one did anything. Ray says: {said}\n"
                "Every node needs the folder of the project at the same path, and Ray has to be started there with the "
                "environment of the project."
            ) from error
        log.warning("engine: ray: some workers do not start; going on with %d. Ray says: %s", len(self.ready), said)
        self._failures, self._next_look = 0, time.monotonic() + _PATIENCE


def first_of(references: list[Any], seconds: float) -> Any | None:
    """The first that is done, or None after so long."""
    if not references:
        time.sleep(seconds)
        return None
    done, _ = ray.wait(references, num_returns=1, timeout=seconds)
    return done[0] if done else None


def unwrapped(reference: Any) -> Any:
    """What a worker has returned.

    Raises:
        PermafrostError: that was an error.
        Lost: the worker was lost.
    """
    try:
        value = ray.get(reference)
    except Lost:
        raise
    except ray.exceptions.RayTaskError as error:
        raise (error.cause or error) from error
    if isinstance(value, Exception):
        raise value
    return value
