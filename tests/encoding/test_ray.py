"""The Ray engine on a real cluster of two nodes of this machine."""

# ruff: noqa: F811  (the fixture `cluster`)
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.stores import RayParams
from pipeline.encoding.run import EncodeSummary, StoreEncoder
from pipeline.errors import ConfigError, SourceError, StoreError
from pipeline.features.shards import RECORD
from pipeline.features.verify import verify
from pipeline.paths import WORK_VARIABLE
from stages.encode import encode
from tests.encoding.clone import STORE, files, make_clone, settings
from tests.encoding.toy_job import ToyJob
from tests.two_nodes import TwoNodes, cluster  # noqa: F401

pytest.importorskip("ray", reason="Ray is an extra: pip install -e '.[ray]'")
pytestmark = pytest.mark.long


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

    def begun_on_the_second() -> bool:
        writing = {int(path.suffix[1:]) for path in (tmp_path / "notes").iterdir()}
        mine = {process.pid for process in cluster.tree(1)}
        return bool(mine & writing) and len(list(tmp_path.glob(f"work/scratch/*/*/{RECORD}"))) >= 3

    killer = cluster.kill_second_when(begun_on_the_second, failures)
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
