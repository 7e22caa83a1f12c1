"""The store command on a real project: damage is found and repaired anywhere, and no more is encoded than that."""

import os
from pathlib import Path

import pytest

from pipeline.features.manifest import checksum
from tests.dag.conftest import copy_with_links
from tests.dag.project import Project
from tests.dag.reruns import stores_of
from tests.features import stores

pytestmark = [pytest.mark.dag, pytest.mark.long]

STORE = Path("data/features/pairs/eye/mine")
SHARD = STORE / "cls" / "c" / "1" / "0" / "0"


@pytest.fixture(scope="module")
def copied(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project that may be damaged."""
    project.repro()
    folder = tmp_path_factory.mktemp("damaged") / "work"
    copy_with_links(project.folder, folder)
    copy = Project(folder, project.outside, project.first_run)
    copy.repro()
    return copy


def store(project: Project, *arguments: str) -> tuple[int, str]:
    done = project.attempt("python", "-m", "pipeline.store", *arguments)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout + done.stderr


def flip(path: Path, byte: int, bit: int = 3) -> None:
    """Flip a bit in place, under all names of the file; size and modification time stay."""
    state = path.stat()
    stores.flip(path, byte, bit)
    path.chmod(state.st_mode)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def test_a_flipped_bit_in_a_shard(copied: Project) -> None:
    path = copied.folder / SHARD
    before, rows = checksum(path), copied.params()["encode"]["shard_rows"]
    assert path.stat().st_nlink == 3
    flip(path, 100)
    assert checksum(path) != before
    assert "up to date" in copied.status(), "DVC does not see it"

    code, said = store(copied, "verify")
    assert code == 1
    assert f"cls/c/1/0/0: changed (shard 1, rows {rows} to {2 * rows - 1})" in said
    mark = len(copied.journal())
    code, said = store(copied, "repair", str(STORE))
    assert code == 0, said
    assert copied.passes(mark) == {"mine-eye": rows}, "only the damaged shard is encoded"
    assert checksum(path) == before
    assert path.stat().st_nlink == 3

    assert store(copied, "verify")[0] == 0
    assert "up to date" in copied.status()
    copied.run("dvc", "commit", "--force", "encode@mine-eye")
    copied.run("dvc", "checkout", "--force", "encode@mine-eye")
    assert checksum(path) == before, "DVC does not bring the damage back"
    assert f"{STORE}: intact, also in scratch and in DVC's cache" in store(copied, "repair", str(STORE))[1]


@pytest.mark.parametrize("name", ["zarr.json", "cls/zarr.json", "rows.parquet", "manifest.json"])
def test_damaged_metadata_is_written_anew_without_a_backbone(copied: Project, name: str) -> None:
    path = copied.folder / STORE / name
    before = path.read_bytes()
    flip(path, len(before) // 2)
    mark = len(copied.journal())
    assert store(copied, "verify", str(STORE))[0] == 1
    assert store(copied, "repair", str(STORE))[0] == 0
    assert path.read_bytes() == before
    assert not copied.passes(mark)
    assert store(copied, "verify")[0] == 0, "also in the stores whose equal files DVC keeps as one"
    assert "up to date" in copied.status()


def test_ls_tells_what_is_stored(copied: Project) -> None:
    code, said = store(copied, "ls")
    assert code == 0
    assert said.count(" rows (0 failed)") == len(stores_of(copied))
    assert "cls float16 (89, 1, 16)" in said
    assert str(copied.outside / "eye-a") in said


def test_gc_shows_first_and_frees_what_nothing_names(copied: Project) -> None:
    copied.edit("encoders.words.model", str(copied.outside / "words-b"))
    copied.repro("encode@mine-words")
    copied.edit("encoders.words.model", str(copied.outside / "words-a"))
    copied.repro()
    scratch = copied.folder / ".dvc" / "permafrost" / "scratch"
    folders = set(scratch.iterdir())
    code, said = store(copied, "gc")
    assert code == 0
    assert "Nothing was removed" in said
    assert set(scratch.iterdir()) == folders
    shards = set(scratch.glob("*/*/shard.json"))
    code, said = store(copied, "gc", "--workspace", "--yes")
    assert code == 0, said
    gone = shards - set(scratch.glob("*/*/shard.json"))
    assert {path.parent.parent for path in gone}
    assert store(copied, "verify")[0] == 0
    mark = len(copied.journal())
    assert copied.repro() == set()
    assert not copied.passes(mark)


def test_a_store_that_no_stage_writes(copied: Project) -> None:
    code, said = store(copied, "repair", "data/features/pairs/eye/nothing")
    assert code == 1
    assert "No stage in dvc.lock writes data/features/pairs/eye/nothing" in said


def a_head(project: Project) -> Path:
    return next(iter(sorted((project.folder / "data" / "models").glob("*/**/*.safetensors"))))


@pytest.mark.parametrize("linked", [True, False])
def test_an_output_that_is_no_store(copied: Project, linked: bool) -> None:
    """A flipped bit is in DVC's cache too where both are one file: then the stage runs again."""
    code, said = store(copied, "verify")
    assert code == 0, said
    assert "outputs beside the stores are as dvc.lock has them" in said
    path = a_head(copied)
    before = path.read_bytes()
    model = path.relative_to(copied.folder).parts[2]
    assert path.stat().st_nlink > 1
    if not linked:
        state, kept = path.stat(), path.with_name("kept")
        kept.write_bytes(before)
        kept.chmod(0o444)
        os.utime(kept, ns=(state.st_atime_ns, state.st_mtime_ns))
        kept.replace(path)
        copied.status()
    flip(path, len(before) // 2)
    assert "up to date" in copied.status(), "DVC does not see it"
    code, said = store(copied, "verify", f"data/models/{model}")
    assert code == 1
    assert f"{path.name}: changed" in said
    code, said = store(copied, "repair", f"data/models/{model}")
    assert code == 0, said
    assert ("repaired by dvc repro" if linked else "repaired by dvc checkout") in said
    assert path.read_bytes() == before
    assert store(copied, "verify")[0] == 0
    if linked:
        assert "run dvc repro for what depends on it" in said
        copied.repro()  # the stage notes how long it took
    assert "up to date" in copied.status()


def test_a_lock_that_was_cut(copied: Project) -> None:
    copied.repro()
    lock = copied.folder / "dvc.lock"
    whole = lock.read_bytes()
    ends = [number + 1 for number in range(len(whole) - 3) if whole[number : number + 3] == b"\n  "]
    stages = [end for end in ends if whole[end + 2 : end + 3] != b" "]
    copied.run("python", "-m", "pipeline.dvc_lock")
    for cut in (b"", whole[: len(whole) // 2], whole[: stages[len(stages) // 2]]):
        lock.write_bytes(cut)
        assert "was cut short" in copied.run("python", "-m", "pipeline.dvc_lock")
        assert lock.read_bytes() == whole
        assert "up to date" in copied.status()
    lock.write_bytes(whole[: stages[len(stages) // 2]])  # which DVC takes for a lock of fewer stages
    mark = len(copied.journal())
    copied.repro()
    assert lock.read_bytes() == whole
    assert not copied.passes(mark), "nothing is encoded again"
