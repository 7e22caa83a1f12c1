"""A real Ray cluster of two nodes of this machine, each a raylet with its own ports and one CPU."""

import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[1]
LOSS_DETECTION = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}
NODE = {"num_cpus": 1, "object_store_memory": 80 << 20}


class TwoNodes:
    """A head and another node."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        head = NODE | {"include_dashboard": False}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self._nodes = [self._cluster.head_node, self._cluster.add_node(**NODE)]
        self.address: str = self._cluster.address
        self.seen = {process.pid for number in range(2) for process in self.tree(number)}

    def add_second(self) -> None:
        """Another node in place of one that was killed."""
        self._nodes[1] = self._cluster.add_node(**NODE)

    def tree(self, number: int) -> list[psutil.Process]:
        """The raylet of a node and all that it has started."""
        raylet = psutil.Process(self._nodes[number].all_processes["raylet"][0].process.pid)
        return [*raylet.children(recursive=True), raylet]

    def kill(self, number: int) -> None:
        """End a node as a power cut would."""
        for process in self.tree(number):
            process.send_signal(signal.SIGKILL)

    def kill_second_when(self, ready: Callable[[], bool], failures: list[str]) -> threading.Thread:
        """Wait in a thread until the second node is at work, and kill it; what went wrong is added to `failures`."""

        def wait() -> None:
            try:
                until = time.monotonic() + 120
                while time.monotonic() < until:
                    if ready():
                        self.seen |= {process.pid for number in range(2) for process in self.tree(number)}
                        self.kill(1)
                        return
                    time.sleep(0.05)
                failures.append("no worker of the second node began")
            except BaseException as error:
                failures.append(repr(error))

        thread = threading.Thread(target=wait)
        thread.start()
        return thread

    def stop(self) -> None:
        self._cluster.shutdown()


@pytest.fixture(scope="module")
def cluster() -> Iterator[TwoNodes]:
    before = dict(os.environ)
    temporary = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # sockets have short names
    own = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_TMPDIR": temporary, "PYTHONPATH": str(ROOT)}
    os.environ.update(LOSS_DETECTION | own)
    nodes = None
    try:
        nodes = TwoNodes()
        yield nodes
    finally:
        if nodes is not None:
            nodes.stop()
        os.environ.clear()
        os.environ.update(before)
        shutil.rmtree(temporary, ignore_errors=True)
    assert not [pid for pid in nodes.seen if psutil.pid_exists(pid)], "processes were left behind"
