"""Ensembles in the tables: scores averaged query by query, and members that do not belong together."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.config import EnsembleSpec, EvaluateSettings
from pipeline.datasets.caption_pairs import read_caption_pairs
from pipeline.errors import ModelError
from pipeline.evaluation import evaluate_task
from pipeline.evaluation.embeddings import TrainedAligner
from pipeline.evaluation.ensembles import JoinedAligners
from pipeline.evaluation.results import TaskResult
from pipeline.files import read_object, write_json
from tests.alignment.toy import World
from tests.evaluation.test_end_to_end import evaluate_on, inside, trained  # noqa: F401 (fixtures)

TWO = {"two": {"of": ["default", "control"]}, "scaled": {"of": ["default", "control"], "scores": "logit"}}
CPU = torch.device("cpu")


def aligners_of(world: World) -> dict[str, TrainedAligner]:
    settings = world.config(ensembles=TWO).settings("evaluate", "retrieval")
    assert isinstance(settings, EvaluateSettings)
    return {name: TrainedAligner(name, spec, 2, CPU) for name, spec in settings.aligners.items()}


@pytest.mark.parametrize("scores", ["cosine", "logit"])
def test_a_cosine_of_an_ensemble_is_the_mean_of_its_members_scores(inside: World, scores: str) -> None:  # noqa: F811
    members = aligners_of(inside)
    spec = EnsembleSpec.model_validate({"of": ("control", "default"), "scores": scores})
    ensemble = JoinedAligners("two", spec, members)
    pairs = read_caption_pairs(["emoji"], 2).of(1, "test")
    images, texts = np.unique(pairs.image_id.astype(str))[:9], np.unique(pairs.text_id.astype(str))[:7]
    found = ensemble.image_vectors(1, "emoji", images) @ ensemble.text_vectors(1, "pairs", "emoji", texts).T
    cosines = [
        one.image_vectors(1, "emoji", images) @ one.text_vectors(1, "pairs", "emoji", texts).T
        for one in members.values()
    ]
    scales = [one.logit_scale(1) for one in members.values()]
    assert scales[0] != scales[1]
    if scores == "cosine":
        np.testing.assert_allclose(found, (cosines[0] + cosines[1]) / 2, atol=1e-5)
    mean = (scales[0] * cosines[0] + scales[1] * cosines[1]) / 2
    if scores == "logit":
        np.testing.assert_allclose(ensemble.logit_scale(1) * found, mean, rtol=1e-4, atol=1e-4)
    for vectors in (ensemble.image_vectors(1, "emoji", images), ensemble.text_vectors(1, "pairs", "emoji", texts)):
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_class_scores_are_the_mean_of_those_with_each_members_own_classes(inside: World) -> None:  # noqa: F811
    members = aligners_of(inside)
    ensemble = JoinedAligners("two", EnsembleSpec(of=("default", "control")), members)
    pairs = read_caption_pairs(["emoji"], 2).of(0, "test")
    texts = np.unique(pairs.text_id.astype(str))
    classes = [tuple(texts[:4]), tuple(texts[4:6]), tuple(texts[6:7])]
    images = pairs.image_id.astype(str)[:5]
    found = ensemble.image_vectors(0, "emoji", images) @ ensemble.class_vectors(0, "pairs", "emoji", classes, "unit").T
    each = [
        one.image_vectors(0, "emoji", images) @ one.class_vectors(0, "pairs", "emoji", classes, "unit").T
        for one in members.values()
    ]
    np.testing.assert_allclose(found, (each[0] + each[1]) / 2, atol=1e-5)


@pytest.mark.parametrize("task", ["retrieval", "classification", "multilingual"])
def test_an_ensemble_is_a_row_of_every_table_and_changes_no_other(inside: World, task: str) -> None:  # noqa: F811
    evaluate_on(inside.config(), task)
    file = Path(f"data/results/{task}.json")
    before = TaskResult.read(file)
    config = inside.config(
        ensembles=TWO, evaluate={"versus": {"two": "default"}, "control": {"default": "control"}, "showcase": "default"}
    )
    evaluate_on(config, task)
    after = TaskResult.read(file)
    assert {row.aligner for row in after.rows} == {"default", "control", "two", "scaled"}
    assert tuple(row for row in after.rows if row.aligner not in TWO) == before.rows
    assert any((d.aligner, d.versus) == ("two", "default") for d in after.differences)


def test_a_task_of_single_aligners_says_that_it_leaves_ensembles_out(inside: World) -> None:  # noqa: F811
    settings = inside.config(ensembles=TWO).settings("evaluate", "long_text")
    assert isinstance(settings, EvaluateSettings)
    shutil.rmtree("data/index/scenes", ignore_errors=True)
    folder = Path("data/index/scenes/composed")
    shutil.rmtree(folder, ignore_errors=True)
    task = settings.task.model_copy(update={"scenes": None, "datasets": ("emoji",)})
    result = evaluate_task(settings.model_copy(update={"task": task}))
    assert "two: an ensemble; this task is of single aligners" in result.left_out


def test_what_all_members_have_is_usable(inside: World) -> None:  # noqa: F811
    members = aligners_of(inside)
    ensemble = JoinedAligners("two", EnsembleSpec(of=("default", "control")), members)
    ids = np.array([sample["image_id"] for sample in inside.samples if sample["dataset"] == "emoji"][:3])
    store = members["control"]._store("pairs", "image", "emoji")
    with pytest.MonkeyPatch.context() as patch:
        valid = store.valid.copy()
        valid[store.rows(ids[1:2])] = False
        patch.setattr(store, "valid", valid)
        patch.setattr(store, "reasons", {str(ids[1]): "unreadable"}, raising=False)
        assert ensemble.has_image("emoji", ids).tolist() == [True, False, True]


def test_members_of_other_data_are_refused(
    trained: World,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(trained.root, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    path = Path("data/models/control/config.json")
    write_json(read_object(path) | {"data": ["stamps"]}, path)
    with pytest.raises(ModelError, match=r"different data or splits \(default: emoji, stamps, 2 repeats; control: st"):
        evaluate_on(trained.config(ensembles=TWO), "retrieval")
