"""A short form of `benchmarks/faults.py` over all stages: some trials of every kind, and that each can fail."""

import json
from pathlib import Path

import pytest

from benchmarks.campaign import flips, others, world
from benchmarks.campaign.compare import contents, digest
from benchmarks.campaign.results import Journal, Outcome, pages_tables, summary
from benchmarks.campaign.run import in_turns, trial_of
from benchmarks.campaign.world import Trial, World
from tests.dag.conftest import copied
from tests.dag.project import ROOT, Project

pytestmark = [pytest.mark.dag, pytest.mark.long]


@pytest.fixture(scope="module")
def small(first_run: Project, tmp_path_factory: pytest.TempPathFactory) -> World:
    """Around a project of its own, whatever other tests have done to theirs, in which `dvc repro` changes nothing."""
    folder = tmp_path_factory.mktemp("campaign")
    project = copied(first_run, folder / "project")
    before = contents(project.folder)
    assert project.repro() == set()
    assert contents(project.folder) == before
    return World.around(project, folder / "world")


@pytest.fixture(scope="module")
def mounts(tmp_path_factory: pytest.TempPathFactory) -> bool:
    """Whether small file systems can be mounted."""
    try:
        with others.small_disk(tmp_path_factory.mktemp("disk")):
            return True
    except (OSError, others.subprocess.CalledProcessError):
        return False


def held(small: World, kind: str, *numbers: int) -> list[Outcome]:
    outcomes = [trial_of(small, kind, 0, number) for number in numbers]
    for one in outcomes:
        assert not one.failed, f"{one.what}: {one.failed}\n{one.last}"
    return outcomes


def test_killed_stages_end_in_the_same_bytes(small: World) -> None:
    outcomes = held(small, "kills", 0, 2, 4)
    assert any(one.what["hits"] != ["ended before"] for one in outcomes)


def test_a_killed_repro_leaves_a_whole_lock(small: World) -> None:
    (outcome,) = held(small, "kills", 37)
    assert outcome.what["group"] == "dvc repro"


def test_flipped_bits_are_named_or_change_nothing(small: World) -> None:
    kinds = list(flips.groups(small))
    wanted = ("DVC cache object", "checkpoint weights", "head weights", "index", "scratch shard")
    outcomes = held(small, "flips", *(kinds.index(kind) for kind in wanted))
    assert [one.what["group"] for one in outcomes] == list(wanted)


def test_a_full_disk_is_said_and_room_is_enough_to_go_on(small: World, mounts: bool) -> None:
    if not mounts:
        pytest.skip("a small file system can only be mounted by root")
    assert "said so" in {one.how for one in held(small, "full", 4, 8)}


def test_two_commands_at_once(small: World) -> None:
    held(small, "pairs", 1, 5)


def test_a_store_that_is_replaced_while_it_is_read(small: World) -> None:
    held(small, "replaced", others.REPLACED.index("store"))


def test_a_silent_difference_is_a_failure(small: World, tmp_path: Path) -> None:
    """The campaign itself: what it compares sees one bit, and nothing else."""
    trial = Trial(small, tmp_path / "log")
    assert not trial.differences()
    flips.flip_bit(trial.folder / "data/results/retrieval.json", 40, 1)
    (trial.folder / "data" / "stray.partial").touch()
    (trial.folder / "data/splits/pairs.parquet").unlink()
    lock = trial.folder / "dvc.lock"
    lock.write_bytes(lock.read_bytes()[: lock.stat().st_size // 2])
    assert set(trial.differences()) == {
        "data/results/retrieval.json differs",
        "data/splits/pairs.parquet is missing",
        "data/stray.partial is extra",
        "dvc.lock differs",
    }
    assert trial.leftovers() == ["data/stray.partial is left over"]
    trial.remove()


def test_only_measurements_are_left_out_of_a_comparison(small: World) -> None:
    name = "data/models/curated/metrics.json"
    content = (small.base / name).read_text()
    assert digest(name, content.replace('"seconds": 0.', '"seconds": 1.').encode()) == contents(small.base)[name]
    assert digest(name, content.replace('"samples_seen": ', '"samples_seen": 1').encode()) != contents(small.base)[name]
    other = "data/results/retrieval.json"
    assert digest(other, b'{"seconds": 1}') != digest(other, b'{"seconds": 2}')


def test_a_campaign_goes_on_and_counts(tmp_path: Path) -> None:
    assert list(in_turns({"kills": 2, "pairs": 1})) == [("kills", 0), ("pairs", 0), ("kills", 1)]
    journal = Journal(tmp_path / "trials.jsonl")
    journal.add(Outcome("kills", 0, 0, {"group": "train"}, "same bytes"))
    journal.add(Outcome("kills", 0, 1, {"group": "train"}, "same bytes", "data/splits differs", "line"))
    journal.path.write_text(journal.path.read_text() + '{"kind": "kil')
    found = summary(journal.read())
    assert found["kinds"]["kills"] | {"seconds": 0} == {
        "tried": 2,
        "held": 1,
        "failed": 1,
        "seconds": 0,
        "how": {"same bytes": 2},
        "groups": {"train": {"same bytes": 1, "failed": 1}},
    }
    assert [one["number"] for one in found["failures"]] == [1]


def test_the_page_shows_the_last_campaign() -> None:
    found = json.loads((ROOT / "benchmarks/results/faults.json").read_text(encoding="utf-8"))["stages"]
    assert pages_tables(found) in (ROOT / "docs/reliability.md").read_text(encoding="utf-8")


def test_every_stage_and_every_kind_of_file_has_its_turn(small: World) -> None:
    kinds = {stage.kind for stage in small.stages.values()}
    assert len(kinds) <= 40, "so that 40 full disks and 200 kills reach each"
    files = {path.relative_to(small.base).as_posix() for path in (small.base / "data").rglob("*") if path.is_file()}
    assert not {name for name in files if not flips.group_of(name)} - {"data/README.md"}
    assert world.DEADLINE > 60
