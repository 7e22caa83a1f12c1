"""Recipes end to end: from params to saved heads, and through the evaluation, on the planted world."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.alignment import fit_aligner
from pipeline.alignment.data.load import load_alignment_data
from pipeline.alignment.saved import HeadConfig, ProjectionHeads
from pipeline.config import FitSpec, RetrievalParams, TrainParams
from pipeline.datasets.caption_pairs import read_caption_pairs
from pipeline.device import choose_device
from pipeline.errors import DataError, ModelError, StoreError
from pipeline.evaluation.embeddings import TrainedAligner
from pipeline.evaluation.retrieval import evaluate_retrieval
from pipeline.features import FeatureStore
from pipeline.paths import store_folder
from tests.alignment.specs import DATASETS, evaluated, fit_of, head_of, settings_of, trained
from tests.alignment.toy import VISION, World

PARAMS = TrainParams(epochs=6, min_steps=0, batch_size=64, warmup_steps=2, lr=3e-3, device="cpu")
CLOSED = {"kind": "closed-form", "local_tokens": "mean"}
RECIPES: dict[str, dict[str, Any]] = {
    "default": {**CLOSED, "whitening": {"sides": "text"}, "forms": {"cca": {}, "kernel-ridge": {}}},
    "asif": {**CLOSED, "forms": {"asif": {"neighbours": [20, 40]}}},
    "fourier": {**CLOSED, "whitening": {}, "forms": {"kernel-ridge": {"features": "fourier", "size": 256}}},
    "exact": {**CLOSED, "forms": {"kernel-ridge": {"features": "exact"}}},
    "sail": {"kind": "gated-unit", "loss": {"kind": "sigmoid"}, "whitening": {}, "train": {"temperature": 0.05}},
    "linear": {"kind": "linear", "init": "cca", "embed_dim": 8, "loss": {"positives": "concept", "noise": 0.1}},
    "structure": {"kind": "gated-low-rank", "loss": {"structure": {}, "mixup": 1.0}, "local_tokens": "mean"},
}


def recipe(name: str, image: str = "vit", **changes: Any) -> FitSpec:
    return fit_of(head_of(**{**RECIPES[name], **changes}), image)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_fitted_saved_and_evaluated(name: str, world: World) -> None:
    config = fit_aligner(settings_of(recipe(name), PARAMS, name))
    assert HeadConfig.read(Path("data/models") / name) == config
    assert config.parameters > 0
    metrics = json.loads((Path("data/models") / name / "metrics.json").read_text())
    assert metrics["validation_recall"]["mean"] > 0.05
    assert (Path("data/models") / name / "curves.csv").read_text().startswith("repeat,")
    fit_aligner(settings_of(recipe(name, "control"), PARAMS, "control"))
    specs = evaluated({name: recipe(name), "control": recipe(name, "control")})
    aligners = [TrainedAligner(one, spec, 2, choose_device("cpu")) for one, spec in specs.items()]
    params = world.config().section("evaluate").model_copy(update={"control": "control", "showcase": name})
    result = evaluate_retrieval(aligners, RetrievalParams(datasets=DATASETS), params, 2, 0)
    value = {(r.aligner, r.dataset, r.metric): r.value for r in result.result.rows}
    for dataset in DATASETS:
        assert value[name, dataset, "i2t_recall@5"] > value["control", dataset, "i2t_recall@5"] + 0.2
    unwhitened = {"whitening": None if "whitening" in RECIPES[name] else {"sides": "image"}}
    others = {"head": recipe(name, **{**unwhitened, "init": "random"} if name == "linear" else unwhitened)}
    others["view"] = recipe(name, "control")
    for other in evaluated(others).values():
        with pytest.raises(ModelError, match="Fit it again"):
            TrainedAligner(name, other, 2, choose_device("cpu"))


@pytest.mark.usefixtures("world")
def test_a_closed_form_is_the_same_wherever_features_lie() -> None:
    one = {mode: PARAMS.model_copy(update={"features": mode}) for mode in ("device", "stream")}
    vectors = []
    for mode, params in one.items():
        fit_aligner(settings_of(recipe("default"), params, mode))
        heads = ProjectionHeads.from_folder(Path("data/models") / mode, 1)
        x = np.random.default_rng(0).normal(size=(7, VISION)).astype(np.float32)
        vectors.append(heads.embed_image(x, x[:, None]))
    np.testing.assert_allclose(vectors[0] @ vectors[0].T, vectors[1] @ vectors[1].T, atol=1e-3)


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("mode", ["device", "stream"])
def test_images_without_local_tokens_are_their_cls_alone(mode: str) -> None:
    params = PARAMS.model_copy(update={"features": mode})
    data = load_alignment_data("toy", fit_of(trained(local_tokens="none")), 2, torch.device("cpu"), params)
    batch = next(iter(data.features.epoch(data.train[0], 16, torch.Generator().manual_seed(0), 1)))
    assert batch.images.local.shape == (len(batch), 0, VISION)
    with pytest.raises(StoreError, match="asks for 2 layers, its first view keeps 1"):
        load_alignment_data("toy", fit_of(trained(local_tokens="mean", layers=2)), 2, torch.device("cpu"), params)


@pytest.mark.usefixtures("world")
def test_concepts_are_numbered_alike_over_data_sets() -> None:
    wanted = fit_of(trained(loss={"positives": "concept"}))
    data = load_alignment_data("toy", wanted, 2, torch.device("cpu"), PARAMS)
    assert data.concepts is not None
    names = len(torch.unique(data.concepts))
    assert names < len(data.concepts) / 3  # two pictures in each of two data sets
    assert load_alignment_data("toy", fit_of(), 2, torch.device("cpu"), PARAMS).concepts is None


@pytest.mark.parametrize("local_tokens", ["grid", "mean", "none"])
def test_crops_are_further_images_of_the_training_split(
    local_tokens: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    World(tmp_path, families=16, concepts_per_family=2, crops=2).write()
    plain, cropped = (fit_of(trained(local_tokens=local_tokens, crops=crops)) for crops in (False, True))
    served = {}
    for mode in ("device", "stream"):
        params = PARAMS.model_copy(update={"features": mode})
        one, data = (load_alignment_data("toy", s, 2, torch.device("cpu"), params) for s in (plain, cropped))
        assert len(data.train[0]) == 3 * len(one.train[0])
        assert len(data.validation[0]) == len(one.validation[0])
        rows = torch.unique(data.validation[0][:, 0])
        own = torch.unique(one.validation[0][:, 0])
        assert torch.equal(data.features.images.read(rows).cls, one.features.images.read(own).cls)
        images = data.features.images.read(data.train[0][:, 0])
        texts = data.features.texts.read(data.train[0][:, 1])
        served[mode] = sorted(
            (cls.numpy().tobytes(), local.numpy().tobytes(), text.numpy().tobytes())
            for cls, local, text in zip(images.cls, images.local, texts.tokens, strict=True)
        )
    expected = []
    pairs = read_caption_pairs(("emoji", "stamps"), 2)
    text = FeatureStore.open(store_folder("pairs", "minilm", "emoji"))  # a shared caption is that of the first data set
    for dataset in ("emoji", "stamps"):
        image = FeatureStore.open(store_folder("pairs", "vit", dataset))
        chosen = pairs.of(0, "train", dataset)
        captions = text.read("pooled", chosen.text_id)[:, None]
        cls, cut = image.read("cls", chosen.image_id)[:, -1], image.read("crop_cls", chosen.image_id)[:, :, -1]
        if local_tokens == "none":
            local, part = cls[:, None][:, :0], cut[:, :, None][:, :, :0]
        else:
            local, part = (image.read(f"{name}{local_tokens}", chosen.image_id) for name in ("", "crop_"))
        for row in range(len(chosen)):
            expected.append((cls[row].tobytes(), local[row].tobytes(), captions[row].tobytes()))
            expected += [(cut[row, c].tobytes(), part[row, c].tobytes(), captions[row].tobytes()) for c in range(2)]
    assert served["device"] == served["stream"] == sorted(expected)


@pytest.mark.usefixtures("world")
def test_crops_that_a_store_does_not_keep_are_missed() -> None:
    with pytest.raises(DataError, match="keeps no crops"):
        load_alignment_data("toy", fit_of(trained(crops=True)), 2, torch.device("cpu"), PARAMS)
