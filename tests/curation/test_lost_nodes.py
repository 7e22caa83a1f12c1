"""A curation whose retrieval runs on two nodes of a Ray cluster, one of which is lost in the middle."""

# ruff: noqa: F811  (fixtures of other files)
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.stores import RayParams
from pipeline.curation import curate_by_concepts, streamed
from pipeline.curation.retrieval import Candidates
from pipeline.curation.vectors import PoolVectors
from pipeline.errors import StoreError
from tests.alignment.toy import World
from tests.curation.slow_pool import SlowPool
from tests.curation.test_by_concepts import spec, world  # noqa: F401
from tests.two_nodes import TwoNodes, cluster  # noqa: F401

pytest.importorskip("ray", reason="Ray is an extra: pip install -e '.[ray]'")
pytestmark = pytest.mark.long

BLOCK = 16  # rows


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Makes every block of the cluster's tasks slow and noted; those of the local engine are neither."""
    from pipeline.curation import ray_retrieval

    folder, retrieve = tmp_path / "notes", ray_retrieval.retrieve_on_ray
    folder.mkdir()

    def slowly(pool: PoolVectors, *given: Any) -> Candidates:
        return retrieve(SlowPool(pool, folder, pause=0.2, together=2), *given)

    monkeypatch.setattr(ray_retrieval, "retrieve_on_ray", slowly)
    monkeypatch.setattr(streamed, "_MOST_BLOCK", BLOCK)
    return folder


def curate(cluster: TwoNodes, out: Path, **ray: Any) -> None:
    params = {"address": cluster.address, "cpus": 1, **ray}
    curate_by_concepts(spec(engine="ray", ray=RayParams(**params)), repeats=1, seed=0, out=out)


def begun_on_the_second(cluster: TwoNodes, notes: Path) -> bool:
    begun = [path.suffix for path in notes.iterdir()]
    return len(begun) >= 4 and bool({f".{process.pid}" for process in cluster.tree(1)} & {*begun})


def test_a_node_that_dies_costs_its_task_and_nothing_else(
    world: World, cluster: TwoNodes, notes: Path, tmp_path: Path
) -> None:
    curate_by_concepts(spec(), repeats=1, seed=0, out=tmp_path / "local")
    failures: list[str] = []
    killer = cluster.kill_second_when(lambda: begun_on_the_second(cluster, notes), failures)
    curate(cluster, tmp_path / "ray")
    killer.join()
    assert failures == []
    begun = Counter(path.stem for path in notes.iterdir())
    train = sum(one["split_0"] == "train" for one in world.samples)
    assert len(begun) >= train // BLOCK, "every block was read"
    tasks = 4 * 2  # four for each worker that fits
    assert begun.total() - len(begun) <= -(-len(begun) // tasks), "at most the blocks of one task were read twice"
    for file in ("outcome.parquet", "selected.parquet", "coverage.json"):
        assert (tmp_path / "local" / file).read_bytes() == (tmp_path / "ray" / file).read_bytes()


@pytest.mark.usefixtures("world")
def test_a_task_that_is_lost_with_its_node_and_may_not_be_tried_again_is_told(
    cluster: TwoNodes, notes: Path, tmp_path: Path
) -> None:
    cluster.add_second()
    failures: list[str] = []
    killer = cluster.kill_second_when(lambda: begun_on_the_second(cluster, notes), failures)
    with pytest.raises(StoreError, match=r"a task of the retrieval was lost(?s:.*)ray\.max_retries"):
        curate(cluster, tmp_path / "ray", max_retries=0)
    killer.join()
    assert failures == []
    assert not (tmp_path / "ray").exists()
