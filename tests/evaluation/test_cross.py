"""Tasks across further modalities on a small world where the truth is known."""

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import TrainSettings
from pipeline.datasets.caption_pairs import read_linked_pairs
from pipeline.evaluation.results import Row, TaskResult
from pipeline.features import FeatureStore
from pipeline.paths import store_folder
from stages.train import train
from tests.alignment.sounds import DATASET, config_with_sounds, write_sounds
from tests.alignment.toy import World
from tests.evaluation.test_end_to_end import evaluate_on

ALIGNERS = (
    "default", "control", "heard", "control-heard", "shown", "control-shown", "further", "control-further",
)  # fmt: skip


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world in which every aligner is fitted."""
    world = World(tmp_path_factory.mktemp("world"), families=40, concepts_per_family=3).write()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(world.root)
        write_sounds(world)
        world.write_selection("shown")
        config = config_with_sounds(world)
        for name in ALIGNERS:
            settings = config.settings("train", name)
            assert isinstance(settings, TrainSettings)
            train(settings)
        for task in ("cross_retrieval", "cross_classification", "retrieval"):
            evaluate_on(config, task)
    return world


@pytest.fixture
def inside(heard: World, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.chdir(heard.root)
    return heard


def result(task: str) -> TaskResult:
    return TaskResult.read(Path(f"data/results/{task}.json"))


def rows(task: str, metric: str) -> dict[str, Row]:
    return {row.aligner: row for row in result(task).rows if row.metric == metric}


@pytest.mark.usefixtures("inside")
@pytest.mark.parametrize("way", ["a2t", "t2a"])
@pytest.mark.parametrize("kind", ["effect", "speech"])
def test_sounds_find_texts_and_texts_sounds_better_than_the_control(kind: str, way: str) -> None:
    found = rows("cross_retrieval", f"{kind}_{way}_recall@5")
    assert set(found) == {"heard", "control-heard", "further", "control-further"}
    for name in ("heard", "further"):
        assert found[name].value > found[f"control-{name}"].value + 0.3
        assert found[name].ci is not None
    assert {row.language for row in found.values()} == {"en" if kind == "effect" else "es"}
    assert found["control-heard"].value == pytest.approx(found["heard"].chance, abs=0.15)


@pytest.mark.usefixtures("inside")
@pytest.mark.parametrize("way", ["i2a", "a2i"])
def test_pictures_and_sounds_meet_directly_and_through_texts_alone(way: str) -> None:
    found = rows("cross_retrieval", f"effect_{way}_recall@5")
    assert set(found) == {"shown", "control-shown", "further", "control-further"}
    for name in ("shown", "further"):
        assert found[name].value > found[f"control-{name}"].value + 0.3
    compared = {
        (d.aligner, d.versus) for d in result("cross_retrieval").differences if d.metric == f"effect_{way}_recall@5"
    }
    assert compared == {("shown", "control-shown"), ("further", "control-further"), ("shown", "further")}


@pytest.mark.usefixtures("inside")
def test_recall_and_chance_are_those_counted_by_hand() -> None:
    from pipeline.alignment import ProjectionHeads
    from pipeline.alignment.vectors import embed_stored_images, embed_stored_texts
    from pipeline.paths import MODELS

    hits, chance = [], []
    pictures, sounds = (FeatureStore.open(store_folder("pairs", view, DATASET)) for view in ("vit", "ear"))
    pairs = read_linked_pairs("audio", [DATASET], 2)
    effects = {sound for number, sound in enumerate(pictures.ids) if number % 2 == 0}
    for repeat in range(2):
        heads = ProjectionHeads.from_folder(MODELS / "shown", repeat)
        test = pairs.of(repeat, "test")
        images = np.array([one for one in test.image_id.astype(str) if one in effects])
        others = np.array([f"sound-{one}" for one in images])
        scores = embed_stored_images(heads, pictures, images) @ embed_stored_texts(heads, sounds, others).T
        hits += [float((row > row[place]).sum() < 5) for place, row in enumerate(scores)]
        chance += [5 / len(images)] * len(images)
    row = rows("cross_retrieval", "effect_i2a_recall@5")["shown"]
    assert row.value == pytest.approx(np.mean(hits))
    assert row.chance == pytest.approx(np.mean(chance))
    assert row.n_items == len(hits)


@pytest.mark.usefixtures("inside")
def test_sounds_are_told_apart_by_prompts() -> None:
    found = rows("cross_classification", "effect_category_top1_accuracy")
    assert set(found) == {"heard", "control-heard", "further", "control-further"}
    assert found["heard"].n_candidates == 5
    assert "speech_category_mean_per_class_accuracy" in {row.metric for row in result("cross_classification").rows}


@pytest.mark.usefixtures("inside")
def test_other_tasks_are_of_pictures_and_texts_alone() -> None:
    assert {row.aligner for row in result("retrieval").rows} == {"default", "control"}


@pytest.mark.usefixtures("inside")
def test_examples_are_of_an_aligner_that_hears() -> None:
    content = json.loads(Path("data/results/cross_retrieval.examples.json").read_text())
    assert content["aligner"] == "heard"
    kinds = {(one["from"], one["to"], one["kind"]) for one in content["examples"]}
    assert kinds == {("audio", "text", "effect"), ("audio", "text", "speech")}
    assert all("audio_id" in one["query"] and "text_id" in one["results"][0] for one in content["examples"])
