"""The contract of what reruns when, on a small copy of the DAG; rows through backbones are counted by the journal."""

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.dag.project import Project

pytestmark = pytest.mark.dag

DOWNSTREAM = {"train@default", "train@control", "evaluate@retrieval", "evaluate@classification"}
EVALUATION = {"evaluate@retrieval", "evaluate@classification"}


@contextmanager
def edited(project: Project, path: str, value: object) -> Iterator[None]:
    """The parameter is `value` inside the block and what it was after it."""
    before = (project.folder / "params.yaml").read_text()
    project.edit(path, value)
    try:
        yield
    finally:
        (project.folder / "params.yaml").write_text(before)


def rerun(project: Project) -> tuple[set[str], Counter[str]]:
    """Stages that ran, and rows per store that went through a backbone."""
    mark = len(project.journal())
    return project.repro(), project.passes(mark)


def test_the_first_run_runs_everything_and_every_row_once(project: Project) -> None:
    assert project.first_run >= DOWNSTREAM | {"index@mine", "splits", "prompts", "encode@mine-eye"}
    rows = project.pictures - 1
    first = Counter[str]()
    for line in project.journal()[:4]:
        first[line["store"]] = line["encoded"]
    assert first["mine-eye"] == first["mine-blind"] == first["mine-words"] == rows
    assert first["classnames-words"] > 0


def test_nothing_to_do(project: Project) -> None:
    assert rerun(project) == (set(), Counter())


def test_a_learning_rate_runs_training_and_evaluation(project: Project) -> None:
    with edited(project, "train.lr", 0.002):
        assert rerun(project) == (DOWNSTREAM, Counter())
    project.repro()


def test_a_template_encodes_only_the_new_strings_and_never_trains(project: Project) -> None:
    before = project.passes()["classnames-words"]
    templates = ["a picture of a {}.", "a sketch of a {}."]
    with edited(project, "prompts.sets.single", templates):
        stages, rows = rerun(project)
    assert stages == {"prompts", "encode@classnames-words", *EVALUATION}
    assert rows == Counter({"classnames-words": before})  # as many again as the one template had
    project.repro()


def test_the_split_seed_runs_no_backbone(project: Project) -> None:
    with edited(project, "seed", 7):
        stages, rows = rerun(project)
    assert stages >= DOWNSTREAM
    assert stages - DOWNSTREAM <= {"splits", "prompts"}
    assert rows == Counter()
    project.repro()


def test_another_text_encoder_and_back_again(project: Project) -> None:
    with edited(project, "encoders.words.model", str(project.outside / "words-b")):
        stages, rows = rerun(project)
        assert stages == {"checkpoint@words", "encode@mine-words", "encode@classnames-words", *DOWNSTREAM}
        assert set(rows) == {"mine-words", "classnames-words"}
    assert rerun(project) == (set(), Counter()), "A -> B -> A is restored"
    with edited(project, "encoders.words.model", str(project.outside / "words-b")):
        assert rerun(project) == (set(), Counter()), "B again is restored as well"
    project.repro()


def test_another_image_encoder_runs_no_text_encoder(project: Project) -> None:
    with edited(project, "encoders.eye.model", str(project.outside / "eye-c")):
        stages, rows = rerun(project)
    assert stages == {"checkpoint@eye", "encode@mine-eye", "train@default", *EVALUATION}
    assert set(rows) == {"mine-eye"}
    project.repro()


def test_one_more_sample_encodes_one_more_row(project: Project) -> None:
    with edited(project, "datasets.mine.limit", project.pictures):
        stages, rows = rerun(project)
    assert stages >= {"index@mine", "encode@mine-eye", "encode@mine-blind", "encode@mine-words", *DOWNSTREAM}
    assert rows["mine-eye"] == rows["mine-blind"] == 1
    assert rows["mine-words"] <= 1
    project.repro()


def test_a_comment_in_the_encoder_code_runs_no_backbone(project: Project) -> None:
    path = project.folder / "pipeline" / "encoding" / "rows.py"
    before = path.read_text()
    path.write_text(before + "# a comment\n")
    stages, rows = rerun(project)
    path.write_text(before)
    assert stages == {"encode@mine-eye", "encode@mine-blind", "encode@mine-words", "encode@classnames-words"}
    assert rows == Counter()
    project.repro()


def test_lost_scratch_is_restored_from_the_cache(project: Project) -> None:
    scratch = project.folder / ".dvc" / "permafrost" / "scratch"
    kept = scratch.with_name("kept")
    scratch.rename(kept)
    try:
        with edited(project, "encode.batch_size", 8):
            project.repro("encode@mine-eye")
        assert project.passes() == Counter(), "the shards come from DVC's cache"
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        kept.rename(scratch)
    project.repro()


def test_there_is_one_copy_of_every_shard(project: Project) -> None:
    shards = [p for p in (project.folder / "data" / "features").rglob("*") if p.is_file() and "/c/" in p.as_posix()]
    assert shards
    for shard in shards:
        inode = shard.stat().st_ino
        others = [p for p in (project.folder / ".dvc").rglob("*") if p.is_file() and p.stat().st_ino == inode]
        places = {p.relative_to(project.folder / ".dvc").parts[0] for p in others}
        assert places == {"cache", "permafrost"}, f"{shard} is not one inode with cache and scratch"
