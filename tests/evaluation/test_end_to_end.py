"""Train and evaluate through the stages on a small world where the truth is known."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.alignment.zero_shot import class_vectors
from pipeline.config import Config, EvaluateSettings, TrainSettings
from pipeline.errors import ConfigError, FingerprintMismatch, ModelError
from pipeline.evaluation import evaluate_task
from pipeline.evaluation.results import Row, TaskResult
from pipeline.features import FeatureStore
from pipeline.paths import store_folder
from stages.evaluate import evaluate
from stages.train import train
from tests.alignment.toy import ROOT, World, write_store

ENCODERS = {"vit": "vit-s14", "control": "vit-random", "minilm": "minilm"}


def evaluate_on(config: Config, task: str) -> None:
    """The stage `evaluate` with its settings."""
    settings = config.settings("evaluate", task)
    assert isinstance(settings, EvaluateSettings)
    evaluate(settings)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world in which the aligner and its control are trained."""
    world = World(tmp_path_factory.mktemp("world")).write()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(world.root)
        config = world.config()
        for aligner in ("default", "control"):
            settings = config.settings("train", aligner)
            assert isinstance(settings, TrainSettings)
            train(settings)
    return world


@pytest.fixture
def inside(trained: World, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.chdir(trained.root)
    return trained


def row(result: TaskResult, aligner: str, dataset: str, metric: str, prompt_set: str | None = None) -> Row:
    key = (aligner, dataset, metric, prompt_set)
    (found,) = [r for r in result.rows if (r.aligner, r.dataset, r.metric, r.prompt_set) == key]
    return found


@pytest.mark.usefixtures("inside")
def test_training_writes_heads_curves_and_metrics() -> None:
    folder = Path("data/models/default")
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    heads = [f"repeat_{i}/heads.safetensors" for i in range(2)]
    assert files == ["config.json", "curves.csv", "metrics.json", *heads]
    with open(folder / "curves.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    columns = ["repeat", "epoch", "step", "loss", "lr", "logit_scale", "grad_norm", "samples_per_second", "val_recall"]
    assert list(lines[0]) == columns
    assert len(lines) == 2 * 25
    config = json.loads((folder / "config.json").read_text())
    assert config["seeds"] == [0, 1]
    assert {side: found["digest"] for side, found in config["fingerprints"].items()} == {
        "image": "digest-vit",
        "text": "digest-minilm",
    }
    metrics = json.loads((folder / "metrics.json").read_text())
    recalls = [metrics["repeats"][f"repeat_{i}"]["validation_recall"] for i in range(2)]
    assert metrics["validation_recall"]["mean"] == pytest.approx(np.mean(recalls))


def test_held_out_retrieval_beats_chance_and_shuffled_features_do_not(
    inside: World, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate_on(inside.config(), "retrieval")
    result = TaskResult.read(Path("data/results/retrieval.json"))
    for dataset in inside.datasets:
        for direction, wide in (("i2t", 60), ("t2i", 30)):
            metric = f"{direction}_recall@1"
            good, control = (row(result, name, dataset, metric) for name in ("default", "control"))
            assert good.n_items == 2 * wide
            assert good.n_candidates == 90 - wide
            assert good.chance == pytest.approx(1 / 30)
            assert good.ci is not None
            assert good.ci[0] > 4 * good.chance
            assert control.ci is not None
            assert control.ci[0] <= 2 * control.chance
            assert row(result, "default", dataset, f"{direction}_median_rank").value < good.n_candidates / 8
    assert all(d.excludes_zero and d.difference > 0 for d in result.differences if d.metric.endswith("@1"))
    printed = capsys.readouterr().out
    assert "chance" in printed
    assert "control" in printed


def test_held_out_classification_beats_chance_and_shuffled_features_do_not(inside: World) -> None:
    evaluate_on(inside.config(), "classification")
    result = TaskResult.read(Path("data/results/classification.json"))
    for prompt_set in ("single", "ensemble"):
        good = row(result, "default", "emoji", "concept_top1_accuracy", prompt_set)
        control = row(result, "control", "emoji", "concept_top1_accuracy", prompt_set)
        assert good.n_candidates == 30
        assert good.chance == pytest.approx(1 / 30)
        assert good.ci is not None
        assert good.ci[0] > 4 * good.chance
        assert control.value < 3 * control.chance
        assert row(result, "default", "stamps", "category_top1_accuracy", prompt_set).n_candidates == 5
        balanced = row(result, "default", "emoji", "concept_mean_per_class_accuracy", prompt_set)
        assert balanced.ci is not None
        assert balanced.ci[0] <= balanced.value <= balanced.ci[1]


def test_equal_runs_write_equal_results(inside: World) -> None:
    evaluate_on(inside.config(), "retrieval")
    first = Path("data/results/retrieval.json").read_bytes()
    evaluate_on(inside.config(), "retrieval")
    assert Path("data/results/retrieval.json").read_bytes() == first


def test_a_data_set_without_test_rows_is_left_out_by_name(inside: World) -> None:
    classes = [{"dataset": "folder", "label": "concept"}]
    datasets = ["emoji", "folder"]
    pairs = {f"folder-{view}": {"dataset": "folder", "view": view, "encoder": of} for view, of in ENCODERS.items()}
    tasks = {"retrieval": {"datasets": datasets}, "classification": {"classes": classes}}
    config = inside.config(
        datasets={"folder": {"source": "folder", "path": "x"}},
        stores={"pairs": inside.config().params.stores.model_dump()["pairs"] | pairs},
        evaluate={"tasks": tasks},
    )
    for task in ("retrieval", "classification"):
        evaluate_on(config, task)
        result = TaskResult.read(Path(f"data/results/{task}.json"))
        assert len(result.left_out) == 1
        assert "folder" in result.left_out[0]


def test_every_language_counts_equally_and_one_without_features_is_left_out(
    trained: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(trained.root, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    english = [pair for pair in trained.pairs if pair["language"] == "en"]
    shifted = [pair["text_id"] for pair in english]
    shifted = shifted[20:] + shifted[:20]  # captions of other concepts: nothing can be right but by chance
    pairs = [*english, *(pair | {"language": "de"} for pair in english)]
    pairs += [pair | {"language": "fr", "text_id": text} for pair, text in zip(english, shifted, strict=True)]
    pairs += [pair | {"language": "xx", "text_id": "absent"} for pair in english]
    world = World(tmp_path, repeats=trained.repeats, datasets=trained.datasets)
    world.rewrite_pairs(pairs)
    evaluate_on(world.config(), "multilingual")
    result = TaskResult.read(Path("data/results/multilingual.json"))
    for dataset in world.datasets:
        for metric in ("concept_top1_accuracy", "i2t_recall@1", "t2i_recall@1"):
            by = {
                r.language: r for r in result.rows if (r.aligner, r.dataset, r.metric) == ("default", dataset, metric)
            }
            assert set(by) == {"en", "de", "fr", "average"}
            assert by["de"].value == by["en"].value > 4 * by["en"].chance
            assert by["fr"].value < by["en"].value / 2
            assert by["average"].value == pytest.approx((by["de"].value + by["fr"].value) / 2)
        ceilings = {
            r.language: r.value for r in result.rows if r.metric == "concept_text_ceiling" and r.dataset == dataset
        }
        assert set(ceilings) == {"de", "fr", "average"}
        assert ceilings["de"] == 1  # the English captions themselves
        assert ceilings["fr"] < 0.2
    assert sum("no captions in xx" in line for line in result.left_out) == 2 * len(world.datasets)
    examples = json.loads(Path("data/results/multilingual.examples.json").read_text())
    assert examples["aligner"] == "default"
    assert len(examples["examples"]) == 12
    assert all(
        found["right"] == (found["concept"] == example["right"])
        for example in examples["examples"]
        for language, found in example["languages"].items()
        if language == "en"
    )


def test_what_classes_were_made_of_is_said(inside: World, monkeypatch: pytest.MonkeyPatch) -> None:
    about = Path("data/index/prompts/classnames/about.json")
    recorded = {"single": {name: {"templates": 1, "sha256": "ab" * 32} for name in inside.datasets}}
    about.write_text(json.dumps({"sets": recorded}))
    seen: set[str] = set()

    def noted(texts: np.ndarray, classes: np.ndarray, kind: str, *named: Any) -> np.ndarray:
        seen.add(kind)
        return class_vectors(texts, classes, kind, *named)

    monkeypatch.setattr("pipeline.alignment.zero_shot.class_vectors", noted)
    config = inside.config()
    settings = config.settings("evaluate", "classification")
    assert isinstance(settings, EvaluateSettings)
    for kind in ("unit", "mean"):
        seen.clear()
        task = settings.task.model_copy(update={"class_vectors": kind})
        result = evaluate_task(settings.model_copy(update={"task": task}))
        assert seen == {kind}
        assert "single: 1 templates, SHA-256 abababababab... (emoji, stamps)" in result.protocol
        assert "ensemble: not recorded" in result.protocol
        assert ("(class_vectors: mean)" in result.protocol) == (kind == "mean")


def test_examples_are_half_right_and_name_what_is_there(inside: World) -> None:
    evaluate_on(inside.config(), "retrieval")
    examples = json.loads(Path("data/results/retrieval.examples.json").read_text())["examples"]
    assert {example["kind"] for example in examples} == {"i2t", "t2i"}
    known = {sample["image_id"] for sample in inside.samples if sample["split_0"] == "test"}
    for example in examples:
        scores = [found["score"] for found in example["results"]]
        assert scores == sorted(scores, reverse=True)
        assert (example["rank"] == 1) == example["results"][0]["right"]
        shown = [found["image"]["image_id"] for found in example["results"] if "image" in found]
        assert set(shown) <= known


def test_an_unknown_task_and_other_parameters_are_refused(inside: World) -> None:
    with pytest.raises(ConfigError, match="no `guessing` under `evaluate.tasks`.*retrieval"):
        evaluate_on(inside.config(), "guessing")
    with pytest.raises(ModelError, match="Fit it again"):
        evaluate_on(inside.config(splits={"repeats": 1}), "retrieval")


def test_features_of_another_encoder_are_refused(
    trained: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(trained.root, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    store = FeatureStore.open(store_folder("prompts", "minilm", "classnames"))
    pooled = store.array("pooled").take(np.arange(len(store)))
    shutil.rmtree(store.folder)
    write_store(store.folder, store.ids.tolist(), {"pooled": pooled}, "another-digest")
    evaluate_on(trained.config(), "retrieval")  # does not read the prompts
    with pytest.raises(
        FingerprintMismatch, match=r"was fitted to features digest-minil.*holds another-dige.*dvc repro train@"
    ):
        evaluate_on(trained.config(), "classification")


@pytest.mark.parametrize("module", ["stages.train", "stages.evaluate"])
def test_no_encoder_library_is_imported(module: str) -> None:
    code = (
        f"import sys, {module}; "
        "print(sorted({'transformers', 'timm', 'sentence_transformers', 'open_clip'} & set(sys.modules)))"
    )
    printed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"
