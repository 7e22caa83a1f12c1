"""The Ray engine on a real cluster of two nodes of this machine, each a raylet with its own ports and one CPU."""

import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.config.stores import RayParams
from pipeline.encoding.run import EncodeSummary, StoreEncoder
from pipeline.errors import ConfigError, SourceError, StoreError
from pipeline.features.shards import RECORD
from pipeline.features.verify import verify
from pipeline.paths import WORK_VARIABLE
from stages.encode import encode
from tests.encoding.clone import ROOT, STORE, files, make_clone, settings
from tests.encoding.toy_job import ToyJob

pytest.importorskip("ray", reason="Ray is an extra: pip install -e '.[ray]'")
pytestmark = pytest.mark.long
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

    def tree(self, number: int) -> list[psutil.Process]:
        """The raylet of a node and all that it has started."""
        raylet = psutil.Process(self._nodes[number].all_processes["raylet"][0].process.pid)
        return [*raylet.children(recursive=True), raylet]

    def kill(self, number: int) -> None:
        """End a node as a power cut would."""
        for process in self.tree(number):
            process.send_signal(signal.SIGKILL)

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


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("clone")
    make_clone(folder, shard_rows=16)
    return folder


@pytest.fixture
def make(clone: Path, cluster: TwoNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ToyJob]:
    """Makes jobs on that cluster."""
    monkeypatch.chdir(clone)
    monkeypatch.setenv(WORK_VARIABLE, str(tmp_path / "work"))
    (tmp_path / "notes").mkdir()

    def made(ray: dict[str, Any] | None = None, rate: float = 0.0, **toy: Any) -> ToyJob:
        params = RayParams(address=cluster.address, cpus=1).model_copy(update=ray or {})
        own = settings(clone, engine="ray", ray=params, shard_rows=8, max_failure_rate=rate)
        return ToyJob(own, Path(), Path(), notes=tmp_path / "notes", **toy)

    return made


def run(job: ToyJob, out: Path, local: bool = False) -> EncodeSummary:
    from pipeline.encoding.ray_engine import RayEngine

    plan, load = job.plan_and_loader()
    rate = job.settings.encode.max_failure_rate
    if local:
        return StoreEncoder("toy", job.fingerprint(), load, rate).run(plan, out)
    with RayEngine(job) as engine:
        return StoreEncoder("toy", job.fingerprint(), load, rate, engine).run(plan, out)


def local_bytes(job: ToyJob, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    with monkeypatch.context() as patched:
        patched.setenv(WORK_VARIABLE, str(folder / "local"))
        run(job, folder / "local" / "store", local=True)
    return files(folder / "local" / "store")


def test_the_stage_writes_the_bytes_of_the_local_engine(
    clone: Path, cluster: TwoNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clone)
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    stores = {}
    for engine in ("local", "ray"):
        monkeypatch.setenv(WORK_VARIABLE, str(tmp_path / engine))
        encode(settings(clone, engine=engine, workers="auto"))
        stores[engine] = files(STORE)
        shutil.rmtree(STORE)
    assert stores["ray"] == stores["local"]
    encode(settings(clone, engine="ray", ray=RayParams(address="127.0.0.1:1")))  # all is cached: nobody asks for Ray
    assert files(STORE) == stores["local"]


def test_what_is_cached_is_not_written_again(
    make: Callable[..., ToyJob], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(make(rows=20), tmp_path / "store", local=True)
    done = run(make(rows=64), tmp_path / "store")
    assert (done.reused_shards, done.reused_rows, done.encoded) == (2, 4, 44)
    assert files(tmp_path / "store") == local_bytes(make(rows=64), tmp_path, monkeypatch)


def test_a_shard_that_kills_its_worker_is_told(make: Callable[..., ToyJob], tmp_path: Path) -> None:
    """Each time another worker is started on the CPU that has become free."""
    with pytest.raises(StoreError, match=r"2 workers were lost while they wrote shard 2 \(of 8\)(?s:.*)max_retries"):
        run(make(deadly="17", ray={"max_retries": 1}), tmp_path / "store")
    assert not (tmp_path / "store").exists()
    assert len(list((tmp_path / "notes").glob("16.*"))) == 2


def test_failures_of_all_workers_count_together(make: Callable[..., ToyJob], tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="3 of (?s:.*) samples so far cannot be encoded(?s:.*)  broken"):
        run(make(broken=("1", "30", "60"), rate=2 / 64), tmp_path / "store")
    assert run(make(broken=("1", "30", "60"), rate=3 / 64), tmp_path / "store").failed == 3


def test_workers_that_fit_nowhere(make: Callable[..., ToyJob], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a worker takes 3 CPUs(?s:.*)1 CPUs, 0 GPUs; 1 CPUs, 0 GPUs"):
        run(make(ray={"cpus": 3}), tmp_path / "store")


def test_other_code_on_a_node_is_refused(
    make: Callable[..., ToyJob], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.encoding.ray_worker._torch", lambda: "1.0.0")
    with pytest.raises(ConfigError, match="PyTorch on .* is .*, that of the stage is 1.0.0"):
        run(make(), tmp_path / "store")


def test_a_node_that_dies_costs_its_shard_and_nothing_else(
    make: Callable[..., ToyJob], cluster: TwoNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other node has no CPU free for another worker, and finishes alone."""
    job, failures = make(rows=128, pause=0.2, together=2), []

    def kill() -> None:
        try:
            until = time.monotonic() + 120
            while time.monotonic() < until:
                mine = {process.pid for process in cluster.tree(1)}
                writing = {int(path.suffix[1:]) for path in (tmp_path / "notes").iterdir()}
                if mine & writing and len(list(tmp_path.glob(f"work/scratch/*/*/{RECORD}"))) >= 3:
                    cluster.seen |= mine | {process.pid for process in cluster.tree(0)}
                    cluster.kill(1)
                    return
                time.sleep(0.05)
            failures.append("no worker of the second node began")
        except BaseException as error:
            failures.append(repr(error))

    killer = threading.Thread(target=kill)
    killer.start()
    done = run(job, tmp_path / "store")
    killer.join()
    assert failures == []
    begun = sorted(int(path.stem) for path in (tmp_path / "notes").iterdir())
    assert len(set(begun)) == 16
    assert len(begun) <= 17, "at most the shard that it was writing was begun twice"
    assert files(tmp_path / "store") == local_bytes(make(rows=128), tmp_path, monkeypatch)
    assert verify(tmp_path / "store").intact
    assert done.rows == 128
    assert not list((tmp_path / "work").rglob("*.partial"))
