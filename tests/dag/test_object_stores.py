"""A real project whose store lies on an S3 server: published by its stage, read by what depends on it, repaired."""

# ruff: noqa: F811  (fixtures of tests/objects)

from pathlib import Path

import pytest

from tests.dag.conftest import copied
from tests.dag.project import Project
from tests.objects.conftest import address, client, faulty, s3  # noqa: F401
from tests.objects.faulty import Faulty

pytestmark = [pytest.mark.dag, pytest.mark.long]
pytest.importorskip("obstore", reason="the extra `objects` is not installed")

STORE = Path("data/features/pairs/eye/mine")


def store(project: Project, *arguments: str) -> tuple[int, str]:
    done = project.attempt("python", "-m", "pipeline.store", *arguments)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout + done.stderr


def test_a_store_moves_to_an_object_store_and_the_dag_goes_on_from_there(
    project: Project,
    address: str,
    faulty: Faulty,
    tmp_path: Path,
) -> None:
    import obstore

    project.repro()
    mine = copied(project, tmp_path / "project")
    mark = len(mine.journal())
    mine.edit("stores.pairs.mine-eye.url", f"{address}/features/mine-eye")
    ran = mine.repro()
    assert "encode@mine-eye" in ran
    assert not any(stage.startswith(("encode@", "encode_")) for stage in ran - {"encode@mine-eye"})
    assert not mine.passes(mark), "what scratch knows is published without an encoder"
    assert (mine.folder / STORE / "remote.json").is_file()
    assert not [*(mine.folder / STORE).rglob("c")]
    assert mine.repro() == set()
    assert store(mine, "verify", str(STORE))[0] == 0

    objects = client(faulty, address)
    obstore.put(objects, "features/mine-eye/rows.parquet", b"spoilt")
    shard = next(path for path in faulty.shards("PUT")).partition("/features/")[2]
    obstore.delete(objects, f"features/{shard}")
    code, said = store(mine, "verify", str(STORE))
    assert code == 1
    assert "rows.parquet: changed" in said
    assert "missing (shard" in said
    code, said = store(mine, "repair", str(STORE))
    assert code == 0, said
    assert store(mine, "verify", str(STORE))[0] == 0
    assert not mine.passes(mark)
    assert "mine-eye" not in mine.status()
