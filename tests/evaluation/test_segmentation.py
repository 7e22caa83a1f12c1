"""Segmentation of composed scenes against a slow way that shares no code with it."""

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from pipeline.datasets.tables import read_table, write_table
from pipeline.errors import DataError, FingerprintMismatch
from pipeline.evaluation.results import Evaluated
from pipeline.evaluation.segmentation import evaluate_segmentation
from pipeline.evaluation.targets import Targets
from tests.evaluation.scene_world import PARAMS, REPEATS, SEGMENTATION, SIDE, SIZE, SceneWorld


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> SceneWorld:
    return SceneWorld(tmp_path_factory.mktemp("scenes"), bad_scene=4).write()


@pytest.fixture
def world(shared: SceneWorld, monkeypatch: pytest.MonkeyPatch) -> SceneWorld:
    monkeypatch.chdir(shared.root)
    return shared


def slow_maps(world: SceneWorld, aligner: str, view: str, label: str, repeat: int) -> tuple[list[str], np.ndarray]:
    """Class names, and the class of every pixel of every scene: the full score maps, interpolated by torch."""
    head = world.heads[aligner, repeat]
    names = sorted({row[label] for row in world.samples})
    with torch.no_grad():
        local = head.vision_local(torch.from_numpy(world.patch[view]).float())
        patches = F.normalize(local, dim=-1)
        weights = []
        for name in names:
            vectors = []
            for identifier in world.prompt_ids[label, name]:
                text = torch.from_numpy(world.prompt_vectors[identifier]).float()[None]
                vectors.append(F.normalize(head.text_global(head.text_token(text)), dim=-1)[0])
            weights.append(F.normalize(torch.stack(vectors).mean(dim=0), dim=0))
        scores = (patches @ torch.stack(weights).T).permute(0, 2, 1).reshape(len(patches), len(names), SIDE, SIDE)
        inside = F.interpolate(scores, size=(56, 56), mode="bilinear", align_corners=False)
        return names, F.pad(inside, (4, 4, 4, 4), mode="replicate").argmax(dim=1).numpy()


def slow_figures(world: SceneWorld, aligner: str, view: str, label: str) -> tuple[float, float, int, int]:
    """mIoU, pixel accuracy, objects, families: summed pixel by pixel over scenes and repeats."""
    sample = {row["image_id"]: row for row in world.samples}
    scenes = world.scenes()
    intersection: dict[str, int] = {}
    union: dict[str, int] = {}
    right = total = objects = 0
    families, present = set(), set()
    for repeat in range(REPEATS):
        names, maps = slow_maps(world, aligner, view, label, repeat)
        truth = np.full(maps.shape, -1)
        for thing in scenes.objects:
            row = sample[thing.piece_id]
            if row[f"split_{repeat}"] == "test" and thing.scene != world.bad_scene:
                truth[thing.scene][scenes.instances[thing.scene] == thing.instance] = names.index(row[label])
                families.add(row["family"])
                present.add(row[label])
                objects += 1
        counted = truth >= 0
        right += (truth == maps)[counted].sum()
        total += counted.sum()
        for number, name in enumerate(names):
            true, taken = truth == number, (maps == number) & counted
            intersection[name] = intersection.get(name, 0) + (true & taken).sum()
            union[name] = union.get(name, 0) + (true | taken).sum()
    iou = np.mean([intersection[name] / union[name] for name in present])
    return float(iou), right / total, objects, len(families)


@pytest.fixture(scope="module")
def evaluated(shared: SceneWorld) -> Evaluated:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(shared.root)
        return evaluate_segmentation(shared.aligners(), SEGMENTATION, PARAMS, REPEATS, 0)


@pytest.mark.parametrize(("aligner", "view"), [("default", "eye"), ("control", "blind")])
@pytest.mark.parametrize("label", ["category", "concept"])
def test_figures_equal_the_slow_way(
    world: SceneWorld, evaluated: Evaluated, aligner: str, view: str, label: str
) -> None:
    iou, accuracy, objects, families = slow_figures(world, aligner, view, label)
    rows = {row.metric: row for row in evaluated.result.rows if row.aligner == aligner}
    assert rows[f"{label}_mIoU"].value == pytest.approx(iou, abs=1e-3)
    assert rows[f"{label}_pixel_accuracy"].value == pytest.approx(accuracy, abs=1e-3)
    for row in (rows[f"{label}_mIoU"], rows[f"{label}_pixel_accuracy"]):
        assert (row.n_items, row.n_families, row.repeats) == (objects, families, REPEATS)
        assert row.n_candidates == len({sample[label] for sample in world.samples})
        assert row.prompt_set == "both"
        assert row.ci is not None
        assert row.ci[0] <= row.value <= row.ci[1]
    assert rows[f"{label}_pixel_accuracy"].chance == pytest.approx(1 / rows[f"{label}_mIoU"].n_candidates)


def test_what_is_reported(evaluated: Evaluated) -> None:
    result = evaluated.result
    assert (result.task, result.unit) == ("segmentation", "object")
    assert result.left_out == ("plain: no dense view (aligners.plain.evaluation.dense)",)
    assert {(d.aligner, d.versus) for d in result.differences} == {("default", "control")}
    assert len(result.differences) == len(result.sentences) == 4
    assert "Composed scenes" in result.protocol


def test_examples_show_truth_and_prediction(world: SceneWorld, evaluated: Evaluated) -> None:
    names, maps = slow_maps(world, "default", "eye", "category", 0)
    scenes, sample = world.scenes(), {row["image_id"]: row for row in world.samples}
    assert 0 < len(evaluated.examples) <= 3
    json.dumps(evaluated.examples)
    for example in evaluated.examples:
        assert example["scene"] | {"image_id": ""} == {"group": "scenes", "dataset": "composed", "image_id": ""}
        number = scenes.ids.tolist().index(example["scene"]["image_id"])
        truth, predicted = (
            np.asarray(Image.open(io.BytesIO(base64.b64decode(example[key])))) for key in ("truth", "predicted")
        )
        assert truth.shape == (SIZE, SIZE)
        counted = np.zeros((SIZE, SIZE), dtype=bool)
        for thing in (thing for thing in scenes.objects if thing.scene == number):
            inside = scenes.instances[number] == thing.instance
            row = sample[thing.piece_id]
            if row["split_0"] == "test":
                counted |= inside
                assert {example["classes"][str(code)] for code in np.unique(truth[inside])} == {row["category"]}
        assert ((truth == 255) == ~counted).all()
        assert ((predicted == 255) == ~counted).all()
        shown = [example["classes"][str(code)] for code in predicted[counted]]
        assert np.mean(np.array(shown) == np.array(names)[maps[number][counted]]) > 0.999
        assert example["pixel_accuracy"] == pytest.approx((truth == predicted)[counted].mean(), abs=1e-5)


def test_equal_runs_give_equal_results(world: SceneWorld, evaluated: Evaluated) -> None:
    again = evaluate_segmentation(world.aligners(), SEGMENTATION, PARAMS, REPEATS, 0)
    assert again == evaluated


def test_features_of_another_encoder_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = SceneWorld(tmp_path).write()
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "data/features/scenes/eye-dense/composed/zarr.json"
    content = json.loads(path.read_text())
    content["attributes"]["fingerprint"]["compared"]["weights"] = "others"
    path.write_text(json.dumps(content))
    with pytest.raises(FingerprintMismatch, match="weights: found 'others', expected 'w'") as caught:
        evaluate_segmentation(world.aligners(), SEGMENTATION, PARAMS, REPEATS, 0)
    assert "resolution:" not in str(caught.value)
    content["attributes"]["fingerprint"]["compared"]["weights"] = "w"
    del content["attributes"]["patch_grid"]
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="tier: full"):
        evaluate_segmentation(world.aligners(), SEGMENTATION, PARAMS, REPEATS, 0)


def test_scenes_of_other_pictures_than_the_splits_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = SceneWorld(tmp_path).write()
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "data/splits/samples.parquet"
    write_table(read_table(path).slice(5), path)
    scenes = world.scenes()
    with pytest.raises(DataError, match="data/splits does not name"):
        Targets.of(scenes, np.ones(len(scenes), dtype=bool), SEGMENTATION.classes[0], REPEATS)


def test_without_scenes_everything_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.config import ScenesSpec
    from pipeline.datasets.builder import IndexBuilder
    from pipeline.datasets.scenes import build_scenes

    world = SceneWorld(tmp_path).write()
    monkeypatch.chdir(tmp_path)
    with IndexBuilder(tmp_path / "none") as builder:
        builder.finish({"source": "made"})
    build_scenes({"cut": tmp_path / "none"}, ScenesSpec(pieces=("cut",)), tmp_path / "data/index/scenes/composed")
    found = evaluate_segmentation(world.aligners(), SEGMENTATION, PARAMS, REPEATS, 0)
    assert found.result.rows == ()
    assert found.examples == ()
    assert "cut by category: no scene was composed" in found.result.left_out
