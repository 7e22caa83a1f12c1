"""Damaged weights on a real project: refused, made again, and what was encoded with them is found and encoded again."""

import shutil
from pathlib import Path

import pytest

from pipeline.features.manifest import checksum
from tests.dag.conftest import copy_with_links
from tests.dag.project import Project
from tests.dag.test_store_command import flip, store

pytestmark = [pytest.mark.dag, pytest.mark.long]

CHECKPOINT = Path("data/checkpoints/eye")
WEIGHTS = CHECKPOINT / "model.safetensors"
STORE = Path("data/features/pairs/eye/mine")
AGAIN = f"Make it again with: python -m pipeline.store repair {CHECKPOINT}"


@pytest.fixture
def copied(project: Project, tmp_path: Path) -> Project:
    project.repro()
    copy_with_links(project.folder, tmp_path / "work")
    copy = Project(tmp_path / "work", project.outside, project.first_run)
    copy.repro()  # so that DVC knows the times of the copies
    return copy


def encode_with_damaged_weights(project: Project) -> None:
    """Encode the store as a version would that does not compare weights with their manifest, then put all else back."""
    code = project.folder / "pipeline/encoders/manifest.py"
    before, weights = code.read_bytes(), (project.folder / WEIGHTS).read_bytes()
    with open(code, "a", encoding="utf-8") as file:
        file.write("\n\ndef damages_of(*_: object) -> list[str]:\n    return []\n")
    first = 8 + int.from_bytes(weights[:8], "little")
    for place in range(first + 3, len(weights), 40):
        flip(project.folder / WEIGHTS, place, bit=7)  # the sign of a float32
    shutil.rmtree(project.folder / ".dvc/permafrost/scratch")
    shutil.rmtree(project.folder / ".dvc/cache/files/md5")
    shutil.rmtree(project.folder / STORE)
    project.run("python", "-m", "stages.encode", "+item=mine-eye")
    code.write_bytes(before)
    (project.folder / WEIGHTS).chmod(0o644)
    (project.folder / WEIGHTS).write_bytes(weights)
    project.run("dvc", "commit", "--force")
    assert "up to date" in project.status()


def test_damaged_weights_are_refused_and_the_command_of_the_message_makes_them_again(copied: Project) -> None:
    path = copied.folder / WEIGHTS
    before = checksum(path)
    assert path.stat().st_nlink == 2, "DVC's cache has the same file"
    flip(path, path.stat().st_size - 100)
    assert "up to date" in copied.status(), "DVC does not see it"
    copied.edit("views.eye.resolution", 42)
    done = copied.attempt("dvc", "repro", "encode@mine-eye")
    assert done.returncode != 0
    assert "model.safetensors is changed" in done.stderr
    assert AGAIN in done.stderr
    assert "Traceback" not in done.stderr

    code, said = store(copied, "repair", str(CHECKPOINT))
    assert code == 0, said
    assert f"{CHECKPOINT}: repaired" in said
    assert "was model.safetensors" in said
    assert checksum(path) == before
    assert copied.repro("encode@mine-eye") == {"encode@mine-eye"}
    copied.run("dvc", "checkout", "--force", "checkpoint@eye")
    assert checksum(path) == before, "DVC does not bring the damage back"
    assert "1 outputs beside the stores: as dvc.lock has them" in store(copied, "repair", str(CHECKPOINT))[1]


def test_a_file_that_the_manifest_does_not_name_is_refused(copied: Project) -> None:
    (copied.folder / CHECKPOINT / "model.safetensors.index.json").write_text("{}")
    copied.edit("views.eye.resolution", 42)
    done = copied.attempt("python", "-m", "stages.encode", "+item=mine-eye")
    assert done.returncode == 1
    assert "model.safetensors.index.json is not listed" in done.stderr
    assert "move it elsewhere, or delete it" in done.stderr
    assert store(copied, "repair", str(CHECKPOINT))[0] == 1, "it may be the only copy of something"
    (copied.folder / CHECKPOINT / "model.safetensors.index.json").unlink()
    copied.run("python", "-m", "stages.encode", "+item=mine-eye")


def test_a_damaged_head_is_refused_by_what_reads_it_and_made_again(copied: Project) -> None:
    path = copied.folder / "data/models/curated/repeat_0/heads.safetensors"
    before = checksum(path)
    flip(path, path.stat().st_size - 50)
    done = copied.attempt("dvc", "repro", "--force", "--single-item", "evaluate@retrieval")
    assert done.returncode != 0
    assert "heads.safetensors is damaged" in done.stderr
    assert "python -m pipeline.store repair data/models/curated" in done.stderr
    assert store(copied, "repair", "data/models/curated")[0] == 0
    assert checksum(path) == before
    copied.run("dvc", "repro", "--force", "--single-item", "evaluate@retrieval")


def test_features_of_damaged_weights_are_found_and_encoded_again(copied: Project) -> None:
    shards = sorted((copied.folder / STORE / "cls/c").rglob("0"))
    before = [checksum(path) for path in shards if path.is_file()]
    code, said = store(copied, "verify", "--deep", "--rows", "8", str(STORE))
    assert code == 0, said
    assert "8 of 8 rows are within 0.004" in said

    encode_with_damaged_weights(copied)
    assert [checksum(path) for path in shards if path.is_file()] != before
    assert store(copied, "verify", str(STORE))[0] == 0, "its files are those that were written"
    assert f"{STORE}: intact" in store(copied, "repair", str(STORE))[1]
    code, said = store(copied, "verify", "--deep", str(STORE))
    assert code == 1
    assert f"Encode it again with: python -m pipeline.store repair --deep {STORE}" in said

    code, said = store(copied, "repair", "--deep", str(STORE))
    assert code == 0, said
    assert "all of it is encoded again" in said
    assert [checksum(path) for path in shards if path.is_file()] == before
    code, said = store(copied, "verify", "--deep")
    assert code == 0, said
    assert copied.repro("encode@mine-eye") == set()


def test_what_cannot_be_encoded_again_is_said(copied: Project) -> None:
    shutil.rmtree(copied.folder / CHECKPOINT)
    code, said = store(copied, "verify", "--deep", str(STORE))
    assert code == 1
    assert f"{STORE}: cannot be encoded again" in said
    assert "found no permafrost.json" in said
    copied.edit("views.eye.resolution", 42)
    copied.repro("checkpoint@eye")
    code, said = store(copied, "verify", "--deep", str(STORE))
    assert code == 1
    assert "holds other features than params.yaml asks for now" in said
    assert "resolution" in said
