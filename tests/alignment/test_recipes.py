"""Recipes end to end: from params to saved heads, and through the evaluation, on the planted world."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.alignment.data.load import load_alignment_data
from pipeline.alignment.fit import train_aligner
from pipeline.alignment.saved import HeadConfig, ProjectionHeads
from pipeline.config import AlignerSpec, TrainParams
from pipeline.datasets.caption_pairs import read_caption_pairs
from pipeline.device import choose_device
from pipeline.errors import DataError, ModelError, StoreError
from pipeline.evaluation.embeddings import TrainedAligner
from pipeline.evaluation.retrieval import evaluate_retrieval
from pipeline.features import FeatureStore
from pipeline.paths import store_folder
from tests.alignment.toy import VISION, World

PARAMS = TrainParams(epochs=6, batch_size=64, warmup_steps=2, lr=3e-3, device="cpu")
CLOSED = {"head": "closed", "local_tokens": "mean"}
RECIPES: dict[str, dict[str, Any]] = {
    "default": {**CLOSED, "whiten": "text", "closed": [{"form": "cca"}, {"form": "kernel-ridge"}]},
    "asif": {**CLOSED, "closed": [{"form": "asif", "neighbours": [20, 40]}]},
    "fourier": {**CLOSED, "whiten": "both", "closed": [{"form": "kernel-ridge", "features": "fourier", "size": 256}]},
    "sail": {"head": "gated-unit", "loss": {"kind": "sigmoid"}, "whiten": "both", "train": {"temperature": 0.05}},
    "linear": {"head": "linear", "init": "cca", "embed_dim": 8, "loss": {"positives": "concept", "noise": 0.1}},
    "structure": {"head": "gated-low-rank", "loss": {"structure": 1.0, "mixup": 1.0}, "local_tokens": "mean"},
}


def spec(name: str, **changes: Any) -> AlignerSpec:
    base = {"image": "vit", "text": "minilm", "data": ("emoji", "stamps")}
    return AlignerSpec.model_validate_json(json.dumps({**base, **RECIPES.get(name, {}), **changes}))


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_trained_saved_and_evaluated(name: str, world: World) -> None:
    config = train_aligner(name, spec(name), PARAMS, repeats=2, seed=0)
    assert HeadConfig.read(Path("data/models") / name) == config
    assert config.parameters > 0
    metrics = json.loads((Path("data/models") / name / "metrics.json").read_text())
    assert metrics["validation_recall"]["mean"] > 0.05
    assert (Path("data/models") / name / "curves.csv").read_text().startswith("repeat,")
    train_aligner("control", spec(name, image="control"), PARAMS, repeats=2, seed=0)
    aligners = [
        TrainedAligner(one, spec(name, image=view), 2, choose_device("cpu"))
        for one, view in ((name, "vit"), ("control", "control"))
    ]
    params = world.config().section("evaluate").model_copy(update={"control": "control", "showcase": name})
    result = evaluate_retrieval(aligners, params, 2, 0)
    value = {(r.aligner, r.dataset, r.metric): r.value for r in result.result.rows}
    for dataset in ("emoji", "stamps"):
        assert value[name, dataset, "i2t_recall@5"] > value["control", dataset, "i2t_recall@5"] + 0.2
    other = spec(name, whiten="image" if spec(name).whiten == "none" else "none", init="random")
    with pytest.raises(ModelError, match="Train it again"):
        TrainedAligner(name, other, 2, choose_device("cpu"))


@pytest.mark.usefixtures("world")
def test_a_closed_form_is_the_same_wherever_features_lie() -> None:
    one = {mode: PARAMS.model_copy(update={"features": mode}) for mode in ("device", "stream")}
    vectors = []
    for mode, params in one.items():
        train_aligner(mode, spec("default"), params, repeats=2, seed=0)
        heads = ProjectionHeads.from_folder(Path("data/models") / mode, 1)
        x = np.random.default_rng(0).normal(size=(7, VISION)).astype(np.float32)
        vectors.append(heads.embed_image(x, x[:, None]))
    np.testing.assert_allclose(vectors[0] @ vectors[0].T, vectors[1] @ vectors[1].T, atol=1e-3)


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("mode", ["device", "stream"])
def test_images_without_local_tokens_are_their_cls_alone(mode: str) -> None:
    params = PARAMS.model_copy(update={"features": mode})
    data = load_alignment_data("toy", spec("", local_tokens="none"), 2, torch.device("cpu"), params)
    batch = next(iter(data.features.epoch(data.train[0], 16, torch.Generator().manual_seed(0), 1)))
    assert batch.images.local.shape == (len(batch), 0, VISION)
    with pytest.raises(StoreError, match="asks for 2 layers, its image view keeps 1"):
        load_alignment_data("toy", spec("", local_tokens="mean", layers=2), 2, torch.device("cpu"), params)


@pytest.mark.usefixtures("world")
def test_concepts_are_numbered_alike_over_data_sets() -> None:
    wanted = spec("", loss={"positives": "concept"})
    data = load_alignment_data("toy", wanted, 2, torch.device("cpu"), PARAMS)
    assert data.concepts is not None
    names = len(torch.unique(data.concepts))
    assert names < len(data.concepts) / 3  # two pictures in each of two data sets
    assert load_alignment_data("toy", spec(""), 2, torch.device("cpu"), PARAMS).concepts is None


@pytest.mark.parametrize("local_tokens", ["grid", "mean", "none"])
def test_crops_are_further_images_of_the_training_split(
    local_tokens: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    World(tmp_path, families=16, concepts_per_family=2, crops=2).write()
    plain, cropped = (spec("", local_tokens=local_tokens, crops=crops) for crops in (False, True))
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
        load_alignment_data("toy", spec("", crops=True), 2, torch.device("cpu"), PARAMS)
