"""Entries for data sets in CLIP_benchmark's layout, added to the project's own params.yaml, and the table they give."""

import difflib
import json
import shutil
from pathlib import Path

import pytest

from pipeline.config import load_config
from pipeline.errors import ConfigError, DataError
from pipeline.interop.zero_shot_sets import add_sets, find_sets, zero_shot_table

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("wds_food101", "wds_vtab-pets", "CUB", "notes"):
        (tmp_path / "wds" / name).mkdir(parents=True)
        if name != "notes":
            (tmp_path / "wds" / name / "classnames.txt").write_text("a\nb\n")
    shutil.copyfile(ROOT / "params.yaml", tmp_path / "params.yaml")
    return tmp_path


def test_entries_are_added_once_and_nothing_else_changes(root: Path) -> None:
    params = root / "params.yaml"
    before = params.read_text()
    sets = find_sets(root / "wds")
    assert list(sets) == ["cub", "food101", "pets"]
    assert add_sets(params, sets) == ["cub", "food101", "pets"]
    after = params.read_text()
    changes = list(difflib.ndiff(before.splitlines(), after.splitlines()))
    assert not [line for line in changes if line.startswith("- ")]
    config = load_config(params)
    assert config.section("datasets.pets").transfer
    views = {aligner.views[0] for aligner in config.section("aligners").values()}
    stores = {(s.dataset, s.view) for s in config.section("stores.pairs").values()}
    assert {("food101", view) for view in views} <= stores
    asked = [entry.dataset for entry in config.section("evaluate.tasks.classification.classes")]
    assert asked[-3:] == ["cub", "food101", "pets"]
    assert add_sets(params, sets) == []
    assert params.read_text() == after


def test_a_folder_without_data_sets_is_refused(root: Path) -> None:
    with pytest.raises(DataError, match=r"has a classnames\.txt"):
        find_sets(root / "wds" / "notes")
    (root / "wds" / "pets").mkdir()
    (root / "wds" / "pets" / "classnames.txt").write_text("a\n")
    with pytest.raises(DataError, match="would both be data set 'pets'"):
        find_sets(root / "wds")


def test_a_params_file_that_does_not_hold_stays_as_it_was(root: Path) -> None:
    params = root / "params.yaml"
    params.write_text(params.read_text().replace("\nseed: 0", "\nsed: 0"))
    before = params.read_text()
    with pytest.raises(ConfigError, match="sed"):
        add_sets(params, find_sets(root / "wds"))
    assert params.read_text() == before


def test_a_params_file_without_the_task_is_not_edited(root: Path) -> None:
    params = root / "params.yaml"
    lines = params.read_text().splitlines(keepends=True)
    start = next(number for number, line in enumerate(lines) if line.startswith("    classification:"))
    end = next(number for number, line in enumerate(lines) if line.startswith("    multilingual:"))
    params.write_text("".join(lines[:start] + lines[end:]))
    before = params.read_text()
    with pytest.raises(ConfigError, match=r"no block `evaluate\.tasks\.classification\.classes:`"):
        add_sets(params, find_sets(root / "wds"))
    assert params.read_text() == before
    assert add_sets(params, {}) == []


def test_the_table_has_the_papers_columns_first(tmp_path: Path) -> None:
    rows = [
        {"metric": metric, "dataset": dataset, "aligner": aligner, "prompt_set": "single", "value": v, "chance": 0.5}
        for metric in ("concept_top1_accuracy", "concept_top5_accuracy")
        for dataset, aligner, v in (("mine", "default", 0.25), ("pets", "default", 0.5), ("pets", "control", 0.125))
    ]
    (tmp_path / "classification.json").write_text(json.dumps({"rows": rows}))
    head, chance, default, control = zero_shot_table(["mine", "pets"], tmp_path)
    assert head.split() == ["top-1,", "%", "Pets", "mine"]
    assert chance.split() == ["chance", "50.0", "50.0"]
    assert default.split() == ["default", "(single)", "50.0", "25.0"]
    assert control.split() == ["control", "(single)", "12.5", "-"]
    with pytest.raises(DataError, match="has no figure"):
        list(zero_shot_table(["elsewhere"], tmp_path))
    with pytest.raises(DataError, match="dvc repro evaluate@classification"):
        list(zero_shot_table(["mine"], tmp_path / "none"))
