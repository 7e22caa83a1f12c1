"""The contract of what reruns when, where data, encoders or their code change; rows are counted by the journal."""

import shutil
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from tests.dag.project import Project
from tests.dag.reruns import CURATION, DOWNSTREAM, ENDS, SCORES, STUDIES, TRAINING, edited, first_rows, rerun, stores_of

pytestmark = pytest.mark.dag


def test_the_first_run_runs_everything_and_every_row_once(project: Project) -> None:
    stages = {"index@mine", "scenes@composed", "splits", "prompts", "encode@mine-eye"}
    assert project.first_run >= DOWNSTREAM | STUDIES | CURATION | stages
    rows, scenes = project.pictures - 1, project.params()["scenes"]["composed"]["count"]
    first = first_rows(project)
    assert first["mine-eye"] == first["mine-blind"] == first["mine-words"] == rows
    assert first["scenes-eye"] == first["scenes-blind"] == first["scenes-words"] == scenes
    assert first["classnames-words"] > 0


def test_nothing_to_do(project: Project) -> None:
    project.repro()
    assert rerun(project) == (set(), Counter())


def test_a_template_encodes_only_the_new_strings_and_never_trains(project: Project) -> None:
    before = first_rows(project)["classnames-words"]
    templates = ["a picture of a {}.", "a sketch of a {}."]
    with edited(project, "prompts.sets.single", templates):
        stages, rows = rerun(project, *ENDS)
    assert stages == {"prompts", "encode_prompts@classnames-words", SCORES}
    assert rows == Counter({"classnames-words": before})  # as many again as the one template had


def test_another_text_encoder_and_back_again(project: Project) -> None:
    with edited(project, "encoders.words.model", str(project.outside / "words-b")):
        stages, rows = rerun(project, *ENDS)
        stores = {"mine-words", "classnames-words", "scenes-words"}
        encoding = {
            "checkpoint@words",
            "encode@mine-words",
            "encode_prompts@classnames-words",
            "encode_scenes@scenes-words",
        }
        assert stages == encoding | STUDIES | TRAINING | {"dense@eye", SCORES}
        assert set(rows) == stores
    assert rerun(project, *ENDS) == (set(), Counter()), "A -> B -> A is restored"
    with edited(project, "encoders.words.model", str(project.outside / "words-b")):
        assert rerun(project, *ENDS) == (set(), Counter()), "B again is restored as well"


def test_another_image_encoder_runs_no_text_encoder(project: Project) -> None:
    with edited(project, "encoders.eye.model", str(project.outside / "eye-c")):
        stages, rows = rerun(project, *ENDS)
    encoding = {"checkpoint@eye", "encode@mine-eye", "encode_scenes@scenes-eye", "encode_scenes@training-eye"}
    assert stages == encoding | STUDIES | CURATION | {"train@default", "train@curated", "dense@eye", SCORES}
    assert set(rows) == {"mine-eye", "scenes-eye", "training-eye"}


def test_one_more_sample_encodes_one_more_row(project: Project) -> None:
    with edited(project, "datasets.mine.limit", project.pictures):
        stages, rows = rerun(project, "train@default", "train@control")
    assert stages >= {"index@mine", "encode@mine-eye", "encode@mine-blind", "encode@mine-words", "train@default"}
    assert rows["mine-eye"] == rows["mine-blind"] == 1
    assert rows["mine-words"] <= 1


def test_a_comment_in_the_encoder_code_runs_no_backbone(project: Project) -> None:
    path = project.folder / "pipeline" / "encoding" / "rows.py"
    before = path.read_text()
    path.write_text(before + "# a comment\n")
    stages, rows = rerun(project)
    path.write_text(before)
    assert {stage.partition("@")[2] for stage in stages} == set(stores_of(project))
    assert {stage.partition("@")[0] for stage in stages} == {"encode", "encode_scenes", "encode_prompts"}
    assert rows == Counter()


def test_one_more_scene_encodes_one_more_row(project: Project) -> None:
    with edited(project, "scenes.composed.count", project.params()["scenes"]["composed"]["count"] + 1):
        stages, rows = rerun(project, *ENDS)
    stores = {"scenes-eye", "scenes-blind", "scenes-words"}
    assert stages == {"scenes@composed", *(f"encode_scenes@{name}" for name in stores), SCORES}
    assert rows == Counter(dict.fromkeys(stores, 1))


def test_more_training_scenes_encode_themselves_and_fit_dense_heads_alone(project: Project) -> None:
    with edited(project, "scenes.training.count", project.params()["scenes"]["training"]["count"] + 2):
        stages, rows = rerun(project, *ENDS)
    assert stages == {"scenes@training", "encode_scenes@training-eye", "dense@eye", SCORES}
    assert rows == Counter({"training-eye": 2})


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


def test_there_is_one_copy_of_every_shard(project: Project) -> None:
    shards = [p for p in (project.folder / "data" / "features").rglob("*") if p.is_file() and "/c/" in p.as_posix()]
    assert shards
    for shard in shards:
        inode = shard.stat().st_ino
        others = [p for p in (project.folder / ".dvc").rglob("*") if p.is_file() and p.stat().st_ino == inode]
        places = {p.relative_to(project.folder / ".dvc").parts[0] for p in others}
        assert places == {"cache", "permafrost"}, f"{shard} is not one inode with cache and scratch"


def test_a_folder_that_changes_is_noticed_and_one_that_is_away_is_not_missed(project: Project, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    shutil.copytree(project.outside / "pictures", folder)
    spec = project.params()["datasets"]["mine"]
    with edited(project, "datasets.mine", spec | {"path": str(folder), "limit": 0}):
        assert "index@mine" in rerun(project, "encode@mine-eye")[0]
        Image.new("RGB", (40, 40), (1, 2, 3)).save(folder / "new.png")
        with open(folder / "captions.csv", "a", encoding="utf-8") as table:
            table.write("new.png,a new thing,en,new thing,new thing,tool\n")
        stages, rows = rerun(project, "encode@mine-eye")
        assert stages == {"index@mine", "encode@mine-eye"}
        assert rows == Counter({"mine-eye": 1})
        folder.rename(tmp_path / "away")
        assert rerun(project, "encode@mine-eye") == (set(), Counter())
        shutil.rmtree(project.folder / "data" / "listing")
        assert rerun(project, "encode@mine-eye") == (set(), Counter()), "the listing comes from DVC's cache"
    assert rerun(project, "encode@mine-eye")[1] == Counter()
