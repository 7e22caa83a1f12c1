"""Pictures without a class, some or all of them: through every stage, evaluated by what they have."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Config
from pipeline.config.load import validate
from pipeline.datasets.tables import read_table
from pipeline.evaluation.results import TaskResult
from pipeline.features import FeatureStore
from pipeline.paths import RESULTS, WORK_VARIABLE, store_folder
from stages.checkpoint import checkpoint
from stages.curate import curate
from stages.encode import encode
from stages.evaluate import evaluate
from stages.index import index
from stages.prompts import prompts
from stages.scenes import scenes
from stages.splits import splits
from stages.train import train
from tests.dag import tiny

ROWS = 60


def run(stage: Callable[[Any], None], config: Config, item: str = "") -> None:
    """A stage with its settings."""
    stage(config.settings(stage.__name__, item))


def project(outside: Path, named: Callable[[int], bool]) -> Config:
    """The small project, here, all but `evaluate` run; only pictures at the places `named` have a class."""
    tiny.write_image_checkpoint(outside / "eye-a", 0)
    tiny.write_image_checkpoint(outside / "eye-b", 1)
    tiny.write_text_checkpoint(outside / "words-a", 3)
    tiny.write_pictures(outside / "pictures")
    with open(outside / "pictures/captions.csv", newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    width = len(head) if any(map(named, range(len(rows)))) else 2  # file and caption alone
    with open(outside / "pictures/captions.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(head[:width])
        for place, row in enumerate(rows):
            writer.writerow((row if named(place) else [*row[:3], "", "", ""])[:width])
    params = tiny.tiny_params(outside, ROWS)
    params.pop("hydra")
    params["curations"].pop("balanced")
    params["aligners"].pop("curated")
    params["aligners"]["default"]["evaluation"].pop("dense_head")
    params["dense_heads"] = {}
    params["evaluate"] |= {"control": "control", "versus": {}}
    classes = [{"dataset": "mine", "label": label} for label in ("concept", "category")]
    params["evaluate"]["tasks"]["classification"]["classes"] = classes
    config = Config(validate(params))
    for name in ("eye", "blind", "words"):
        run(checkpoint, config, name)
    run(index, config, "mine")
    run(splits, config)
    for name in ("composed", "training"):
        run(scenes, config, name)
    run(prompts, config)
    for store in config.params.stores.by_name():
        run(encode, config, store)
    run(curate, config, "all")
    for aligner in ("default", "control"):
        run(train, config, aligner)
    return config


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "project").mkdir()
    (tmp_path / "outside").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setenv(WORK_VARIABLE, str(tmp_path / "work"))
    return tmp_path


def evaluated(config: Config, task: str) -> TaskResult:
    run(evaluate, config, task)
    return TaskResult.read(RESULTS / f"{task}.json")


def test_captions_without_any_class(inside: Path) -> None:
    config = project(inside / "outside", lambda _: False)
    assert read_table(Path("data/index/prompts/classnames/prompts.parquet")).num_rows == 0
    store = FeatureStore.open(store_folder("prompts", "words", "classnames"))
    assert (len(store), store.read("pooled", []).shape) == (0, (0, 16))
    held_out = sum(row["split_0"] == "test" for row in read_table(Path("data/splits/samples.parquet")).to_pylist())
    retrieval = evaluated(config, "retrieval")
    assert {row.n_items for row in retrieval.rows if row.metric.startswith("i2t")} == {held_out}
    assert retrieval.left_out == ()
    classification = evaluated(config, "classification")
    assert classification.rows == ()
    assert classification.left_out == (
        f"mine by concept: {held_out} of {held_out} test images, whose class has no name and so no prompt",
        "mine by category: no labelled image in the test split of any repeat",
    )
    assert {row.metric.partition("@")[0] for row in evaluated(config, "multilingual").rows} >= {"i2t_recall"}
    segmentation = evaluated(config, "segmentation")
    assert segmentation.rows == ()
    told = read_table(Path("data/index/scenes/composed/texts.parquet"))["text"].to_pylist()
    assert all(any(thing in text for thing in tiny.THINGS) for text in told)
    images = read_table(Path("data/index/pairs/mine/images.parquet"))["image_id"].to_pylist()
    assert not [text for text in told if any(image in text for image in images)], "a picture is called by its id"
    assert len(segmentation.left_out) == 2


def test_pictures_of_which_some_have_a_class(inside: Path) -> None:
    config = project(inside / "outside", lambda place: place % 3 > 0)
    samples = read_table(Path("data/splits/samples.parquet")).to_pylist()
    test = [row for row in samples if row["split_0"] == "test"]
    named = [row for row in test if row["classname"]]
    assert 0 < len(named) < len(test)
    result = evaluated(config, "classification")
    lacking = len(test) - len(named)
    line = f"mine by concept: {lacking} of {len(test)} test images, whose class has no name and so no prompt"
    assert result.left_out == (line,)
    of = {row.metric: row for row in result.rows if row.aligner == "default"}
    top1 = of["concept_top1_accuracy"]
    assert (top1.n_items, top1.n_candidates) == (len(named), len({row["concept"] for row in named}))
    assert of["category_top1_accuracy"].n_items == len(named)
    objects = read_table(Path("data/index/scenes/composed/objects.parquet")).to_pylist()
    sample = {row["image_id"]: row for row in samples}
    tested = [sample[row["piece_id"]] for row in objects if sample[row["piece_id"]]["split_0"] == "test"]
    unnamed = [row for row in tested if not row["classname"]]
    segmentation = evaluated(config, "segmentation")
    assert {row.n_items for row in segmentation.rows if row.metric.startswith("concept")} <= {
        len(tested) - len(unnamed)
    }
    said = f"mine by concept: {len(unnamed)} objects of the test split, whose class has no name and so no prompt"
    assert (said in segmentation.left_out) == bool(unnamed)
