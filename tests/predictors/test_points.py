"""Points of planted spaces, what reaches them of the test split, and their correlations."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipeline.config import CompareSpec, PredictorsSpec
from pipeline.predictors.points import image_scores, pair_points, splits_of
from pipeline.predictors.run import OUTCOME, PREDICTORS, correlations, last_layers
from pipeline.similarity.candidates import Candidates, ImageSpace, TextSpace
from pipeline.similarity.samples import Captioned

COMPARE = CompareSpec(datasets=("a",), images=("eye", "blind"), texts=("words",), control="blind", neighbours=5)
STUDY = PredictorsSpec(compare="mine", samples=64)
N, REPEATS = 90, 2


def world() -> Candidates:
    """Pictures of a hidden space, seen well, badly and not at all; every third caption describes two pictures."""
    generator = np.random.default_rng(0)
    hidden = generator.normal(size=(N, 6))
    hidden[1::3] = hidden[0::3]
    splits = np.array([["train", "train"], ["validation", "test"], ["test", "validation"]], dtype=object)
    number = np.arange(N) // 3 % 5
    samples = Captioned(
        dataset=np.repeat("a", N).astype(object),
        image_id=np.array([f"{row:03}" for row in range(N)], dtype=object),
        family=np.array([f"family {row // 3}" for row in range(N)], dtype=object),
        captions=tuple((f"text {row // 3 if row % 3 < 2 else N + row}",) for row in range(N)),
        splits=splits[np.where(number < 3, 0, number - 2)],
    )

    def seen(noise: float) -> np.ndarray:
        mixed = hidden @ np.random.default_rng(1).normal(size=(6, 12))
        return np.asarray(mixed + noise * generator.normal(size=mixed.shape), dtype=np.float32)

    blind = generator.normal(size=(N, 12)).astype(np.float32)
    images = (
        ImageSpace("eye", 1, "cls", seen(4.0)),
        ImageSpace("eye", 2, "cls", seen(0.5)),
        ImageSpace("blind", 1, "cls", blind),
    )
    return Candidates(samples, images, (TextSpace("words", hidden.astype(np.float32)),))


@pytest.fixture(scope="module")
def points() -> list[dict[str, Any]]:
    candidates = world()
    return pair_points(candidates, splits_of(candidates.samples, REPEATS), STUDY, COMPARE)


def test_what_is_seen_better_is_more_alike_and_aligns_better(points: list[dict[str, Any]]) -> None:
    assert [point["name"] for point in points] == ["eye[1] x words", "eye[2] x words", "blind[1] x words"]
    noisy, clear, blind = points
    for name in ("cka", "rbf_cka", "mutual_knn", "probe_recall@1", "aligned_recall@1"):
        assert clear[name] > noisy[name] > blind[name], name
    assert abs(blind["cka"]) < 0.1
    assert clear["aligned_recall@1"] > 0.5


def test_no_predictor_sees_a_test_picture() -> None:
    """One repeat: other features of its test pictures change recall after alignment, and nothing that predicts it."""
    before = world()
    test = before.samples.splits[:, 0] == "test"
    images = []
    for space in before.images:
        features = space.features.copy()
        features[test] = np.random.default_rng(9).normal(size=features[test].shape)
        images.append(replace(space, features=features))
    found = []
    for candidates in (before, replace(before, images=tuple(images))):
        splits = splits_of(candidates.samples, 1)
        found.append(pair_points(candidates, splits, STUDY, COMPARE)[1])
    for name, value in found[0].items():
        assert (found[1][name] == value) == (name not in ("aligned_recall@1", "aligned_recall@10")), name


def test_labels_are_asked_of_validation_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """A category that the second feature gives away is found by both scores, and chance is that of the classes."""
    candidates = world()
    category = np.where(np.arange(N) % 3 == 0, "x", "y")
    keys = list(zip(candidates.samples.dataset, candidates.samples.image_id, strict=True))
    known = {key: (str(name),) for key, name in zip(keys, category, strict=True)}
    monkeypatch.setattr("pipeline.predictors.points.samples_by_image", lambda *_: known)
    told = np.stack([np.ones(N), np.where(category == "x", 1.0, -1.0)], axis=1).astype(np.float32)
    spaces = [replace(candidates.images[0], features=told)]
    (scores,) = image_scores(spaces, candidates.samples, splits_of(candidates.samples, REPEATS), REPEATS, 3)
    assert (scores["image_knn"], scores["image_linear"], scores["image_chance"]) == (1, 1, 0.5)


def grid_points() -> list[dict[str, Any]]:
    """Three image encoders, the second with two layers, and four texts; recall follows CKA and nothing else."""
    generator = np.random.default_rng(3)
    points = []
    for image, layer in (("a", 1), ("b", 1), ("b", 2), ("blind", 1)):
        for text in ("s", "t", "u", "random"):
            point = {name: float(generator.normal()) for name in PREDICTORS} | {"image": image, "text": text}
            points.append({**point, "layer": layer, OUTCOME: 0.1 + 0.01 * np.exp(point["cka"])})
    for side, names in (("image", ("parameters", "width")), ("text", ("parameters", "width"))):
        for point in points:
            point |= {f"{side}_{name}": 10.0 + len(point[side]) + ord(point[side][0]) for name in names}
    return points


def test_the_last_layer_stands_for_its_encoder() -> None:
    ends = last_layers(grid_points())
    assert len(ends) == 12
    assert {(point["image"], point["layer"]) for point in ends} == {("a", 1), ("b", 2), ("blind", 1)}


def test_correlations_with_and_without_controls() -> None:
    records = correlations(grid_points(), {"blind", "random"}, seed=0)
    of_cka = {(r["points"], r["scope"]): r for r in records if r["predictor"] == "cka"}
    assert of_cka["all", "texts"]["spearman"] == of_cka["all", "pairs"]["spearman"] == 1
    assert (of_cka["all", "pairs"]["images"], of_cka["all", "pairs"]["texts"]) == (3, 4)
    left = of_cka["without control", "texts"]
    assert (left["images"], left["texts"], left["spearman"]) == (2, 3, 1)
    assert of_cka["without control", "images"]["spearman"] is None  # two image encoders are left
    by_scope = {scope: {r["predictor"] for r in records if r["scope"] == scope} for scope in ("texts", "images")}
    assert not {"image_knn", "image_width"} & by_scope["texts"]
    assert not {"text_search", "text_width"} & by_scope["images"]
