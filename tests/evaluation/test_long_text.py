"""Long captions against composed scenes, checked against a slow way."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pipeline.config import ScenesSpec
from pipeline.datasets.builder import IndexBuilder
from pipeline.datasets.scenes import build_scenes
from pipeline.errors import DataError, FingerprintMismatch
from pipeline.evaluation.long_text import evaluate_long_text
from pipeline.evaluation.results import Evaluated
from tests.evaluation.scene_world import CHUNK, LENGTHS, LONG_TEXT, PARAMS, REPEATS, SIDE, WIDTH, SceneWorld


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> SceneWorld:
    return SceneWorld(tmp_path_factory.mktemp("scenes"), bad_scene=2).write()


@pytest.fixture(scope="module")
def evaluated(shared: SceneWorld) -> Evaluated:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(shared.root)
        return evaluate_long_text(shared.aligners(), LONG_TEXT, PARAMS, REPEATS, 0)


def slow_ranks(
    world: SceneWorld, aligner: str, view: str, repeat: int, length: int | None
) -> tuple[list[int], list[int]]:
    """Rank of each scene for its caption, and of each caption for its scene, counted one by one; None: in pieces."""
    head = world.heads[aligner, repeat]
    kept = [number for number in range(9) if number != world.bad_scene]
    with torch.no_grad():
        grid = torch.from_numpy(world.patch[view][kept]).float().reshape(-1, 2, SIDE // 2, 2, SIDE // 2, WIDTH)
        regions = grid.mean(dim=(2, 4)).reshape(len(kept), 4, WIDTH)
        local = head.vision_local(regions).mean(dim=1)
        images = F.normalize(head.vision_cls(torch.from_numpy(world.cls[view][kept, 0]).float()) + local, dim=-1)
        texts = torch.from_numpy(world.chunked[kept] if length is None else world.truncated[kept, length]).float()
        texts = F.normalize(head.text_global(head.text_token(texts)), dim=-1)
    scores = (texts @ images.T).numpy()
    t2i = [1 + sum(scores[i, j] >= scores[i, i] for j in range(len(kept)) if j != i) for i in range(len(kept))]
    i2t = [1 + sum(scores[j, i] >= scores[i, i] for j in range(len(kept)) if j != i) for i in range(len(kept))]
    return t2i, i2t


@pytest.mark.parametrize(("aligner", "view"), [("default", "eye"), ("control", "blind")])
def test_recall_equals_the_slow_way(shared: SceneWorld, evaluated: Evaluated, aligner: str, view: str) -> None:
    rows = {(r.metric, r.tokens): r for r in evaluated.result.rows if r.aligner == aligner}
    assert len(rows) == 2 * 2 * (len(LENGTHS) + 1)
    for place, tokens in [*enumerate(LENGTHS), (None, CHUNK)]:
        both = [slow_ranks(shared, aligner, view, repeat, place) for repeat in range(REPEATS)]
        for way in (0, 1):
            ranks = np.array([rank for found in both for rank in found[way]])
            for k in (1, 5):
                row = rows[f"{('t2i', 'i2t')[way]}_recall@{k}{'' if place is not None else '_chunked'}", tokens]
                assert row.value == pytest.approx((ranks <= k).mean())
                assert row.chance == pytest.approx(k / 8)
                assert (row.n_items, row.n_candidates, row.language) == (16, 8, "en")


def test_what_is_reported(shared: SceneWorld, evaluated: Evaluated) -> None:
    result = evaluated.result
    assert (result.task, result.unit) == ("long_text", "scene")
    assert result.left_out == ("plain: no dense and no long_text view (aligners.plain.evaluation)",)
    sample = {row["image_id"]: row["family"] for row in shared.samples}
    scenes = shared.scenes()
    first = {thing.scene: sample[thing.piece_id] for thing in scenes.objects if thing.instance == 1}
    families = {family for scene, family in first.items() if scene != shared.bad_scene}
    assert {row.n_families for row in result.rows} == {len(families)}
    assert {(d.versus, d.tokens) for d in result.differences} == {("control", tokens) for tokens in (*LENGTHS, CHUNK)}
    highest = [line for line in result.sentences if "highest at" in line]
    assert len(highest) == 4
    rows = {(r.metric, r.tokens): r.value for r in result.rows if r.aligner == "default"}
    best = max(LENGTHS, key=lambda tokens: (rows["t2i_recall@1", tokens], -tokens))
    assert any(line.startswith(f"default: t2i_recall@1 on composed scenes is highest at {best} ") for line in highest)


def test_examples_hold_ranks_by_length(shared: SceneWorld, evaluated: Evaluated) -> None:
    scenes = shared.scenes()
    kept = [number for number in range(9) if number != shared.bad_scene]
    expected = [slow_ranks(shared, "default", "eye", 0, place)[0] for place in range(len(LENGTHS))]
    assert len(evaluated.examples) == 3
    json.dumps(evaluated.examples)
    for example in evaluated.examples:
        number = scenes.ids.tolist().index(example["scene"]["image_id"])
        assert example["text_id"] == scenes.captions[number]
        place = kept.index(number)
        assert example["ranks"] == {str(tokens): expected[t][place] for t, tokens in enumerate(LENGTHS)}


def test_texts_of_another_encoder_or_without_truncations_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = SceneWorld(tmp_path).write()
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "data/features/scenes/words-long/composed/zarr.json"
    content = json.loads(path.read_text())
    compared = content["attributes"]["fingerprint"]["compared"]
    del compared["truncations"]
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="has no truncations"):
        evaluate_long_text(world.aligners(), LONG_TEXT, PARAMS, REPEATS, 0)
    compared["prefix"] = "query: "
    path.write_text(json.dumps(content))
    with pytest.raises(FingerprintMismatch, match="prefix: found 'query: ', expected None"):
        evaluate_long_text(world.aligners(), LONG_TEXT, PARAMS, REPEATS, 0)


def test_without_scenes_everything_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = SceneWorld(tmp_path).write()
    monkeypatch.chdir(tmp_path)
    with IndexBuilder(tmp_path / "none") as builder:
        builder.finish({"source": "made"})
    build_scenes({"cut": tmp_path / "none"}, ScenesSpec(pieces=("cut",)), tmp_path / "data/index/scenes/composed")
    found = evaluate_long_text(world.aligners(), LONG_TEXT, PARAMS, REPEATS, 0)
    assert found.result.rows == ()
    assert "composed: no scene was composed" in found.result.left_out
