"""Several aligners as one model: scores averaged, every backbone once, members that do not belong together."""

import json
import pickle
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import Ensemble
from pipeline.encoders.image import ImageEncoder
from pipeline.encoders.transformers_text import TransformersText
from pipeline.errors import DataError, ModelError
from tests.inference.conftest import WORDS, Project, aligner

NAMES = WORDS[:4]


@pytest.fixture
def again(copied: Project) -> Project:
    """The project with a second aligner of the views of `grid`, its heads of another repeat and scale."""
    folder = copied.model("again")
    shutil.copytree(copied.model("grid"), folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"aligner": "again"}))
    shutil.copy(folder / "repeat_1/heads.safetensors", folder / "repeat_0/heads.safetensors")
    return copied


def ensemble(project: Project, *names: str, **options: Any) -> Ensemble:
    return Ensemble.from_pretrained([project.model(name) for name in names], device="cpu", **options)


@pytest.mark.parametrize("scores", ["cosine", "logit"])
def test_scores_are_the_mean_of_the_members(project: Project, scores: str) -> None:
    model = ensemble(project, "grid", "mean", scores=scores)
    members = [aligner(project, name) for name in ("grid", "mean")]
    members[1]._heads.head.logit_scale.data.add_(1.0)
    model = Ensemble([*members], scores=scores)  # type: ignore[arg-type]
    pictures = project.pictures[:5]
    images, texts = model.encode_image(pictures), model.encode_text(list(WORDS))
    cosines = [one.encode_image(pictures) @ one.encode_text(list(WORDS)).T for one in members]
    scales = np.array([one.logit_scale for one in members])
    assert scales[1] > 2 * scales[0]
    weights = np.ones(2) if scores == "cosine" else scales
    expected = sum(w * c for w, c in zip(weights, cosines, strict=True)) / weights.sum()
    np.testing.assert_allclose(images @ texts.T, expected, atol=1e-5)
    assert model.logit_scale == pytest.approx(scales.mean())
    assert images.shape[1] == model.embed_dim == 24
    labels = model.classify(pictures, NAMES, ("a {}.", "the {}."))
    each = [one.classify(pictures, NAMES, ("a {}.", "the {}.")) for one in members]
    for place, row in enumerate(labels):
        logits = dict.fromkeys(NAMES, 0.0)
        for one, w in zip(each, weights * model.logit_scale / weights.sum() / scales, strict=True):
            for name, share in one[place]:  # type: ignore[misc]
                logits[name] += w * np.log(share)  # type: ignore[call-overload]
        odds = {name: np.exp(value - max(logits.values())) for name, value in logits.items()}
        for name, share in row:  # type: ignore[misc]
            assert share == pytest.approx(odds[name] / sum(odds.values()), abs=1e-4)  # type: ignore[index]


def test_one_backbone_of_two_members_sees_an_input_once(again: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ensemble(again, "grid", "again")
    passes: Counter[str] = Counter()
    for kind, name in ((ImageEncoder, "image"), (TransformersText, "text")):
        method = "encode" if name == "text" else "features"
        original = getattr(kind, method)

        def counted(self: Any, *args: Any, _o: Any = original, _n: str = name, **options: Any) -> Any:
            passes[_n] += 1
            return _o(self, *args, **options)

        monkeypatch.setattr(kind, method, counted)
    vectors = model.encode_image(again.pictures[:3], batch_size=8)
    texts = model.encode_text(list(WORDS[:3]), batch_size=8)
    assert passes == {"image": 1, "text": 1}
    each = [aligner(again, name) for name in ("grid", "again")]
    for found, expected in (
        (vectors, [one.encode_image(again.pictures[:3]) for one in each]),
        (texts, [one.encode_text(list(WORDS[:3])) for one in each]),
    ):
        np.testing.assert_allclose(found, np.concatenate(expected, axis=1) / np.sqrt(2), atol=1e-5)


def test_it_is_pickled_and_moved_as_its_members_are(project: Project) -> None:
    model = ensemble(project, "grid", "mean")
    before = model.encode_text(["a bridge"])
    other = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(other.encode_text(["a bridge"]), before)
    np.testing.assert_array_equal(model.on("cpu").encode_text(["a bridge"]), before)
    assert repr(model) == "Ensemble('grid', 'mean', scores='cosine', embed_dim=24)"


def test_class_names_of_a_generator(project: Project) -> None:
    model = ensemble(project, "grid", "mean")
    assert model.classify(project.pictures[0], iter(NAMES)) == model.classify(project.pictures[0], NAMES)
    with pytest.raises(DataError, match="found a set, which has no order"):
        model.classify(project.pictures[0], set(NAMES))


def test_what_cannot_be_joined(again: Project) -> None:
    grid = aligner(again, "grid")
    with pytest.raises(DataError, match="at least two aligners, found 1"):
        Ensemble([grid])
    with pytest.raises(DataError, match="Each repeat holds out other families; found the repeats grid 0, mean 1"):
        Ensemble([grid, aligner(again, "mean", repeat=1)])
    with pytest.raises(DataError, match="scores must be cosine or logit, found 'rank'"):
        Ensemble([grid, aligner(again, "mean")], "rank")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="names must be a list of aligners' folders, found "):
        Ensemble.from_pretrained(again.model("grid"))
    for key, value in (("data", ["other"]), ("repeats", 3)):
        path = Path(again.model("again")) / "config.json"
        config = json.loads(path.read_text())
        path.write_text(json.dumps(config | {key: value}))
        with pytest.raises(ModelError, match="fitted to different data or splits"):
            Ensemble([grid, aligner(again, "again")])
        path.write_text(json.dumps(config))
