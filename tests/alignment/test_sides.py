"""Aligners of any two modalities: sounds with texts, pictures with sounds, by every kind of head."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from pipeline.alignment import HeadConfig, ProjectionHeads, fit_aligner
from pipeline.alignment.closed_form.moments import MomentSums
from pipeline.alignment.closed_form.usable import require_spread_of_pairs
from pipeline.alignment.data.load import load_alignment_data
from pipeline.alignment.vectors import embed_stored_images, embed_stored_texts
from pipeline.config import TrainSettings
from pipeline.datasets.caption_pairs import read_caption_pairs, read_linked_pairs
from pipeline.errors import DataError
from pipeline.features import FeatureStore
from pipeline.paths import MODELS, store_folder
from tests.alignment.sounds import (
    DATASET,
    HEARD,
    config_with_sounds,
    params_with_sounds,
    sound_of,
    validated,
    write_heard,
    write_sounds,
)
from tests.alignment.toy import TEXT, VISION, World

HEADS: dict[str, dict[str, Any]] = {
    "freeze-align": {"kind": "freeze-align", "train": {"epochs": 15}},
    "linear": {"kind": "linear", "init": "cca", "local_tokens": "mean", "train": {"epochs": 2}},
    "mlp": {"kind": "mlp", "local_tokens": "mean", "loss": {"kind": "sigmoid"}, "train": {"epochs": 15}},
    "gated-unit": {"kind": "gated-unit", "local_tokens": "none", "image_input": "cls", "train": {"epochs": 10}},
    "whitened": {"kind": "mlp", "local_tokens": "mean", "whitening": {"sides": "both"}, "train": {"epochs": 15}},
    "concepts": {"kind": "mlp", "local_tokens": "mean", "loss": {"positives": "concept"}, "train": {"epochs": 15}},
    "closed-form": {
        "kind": "closed-form", "local_tokens": "mean",
        "forms": {"cca": {}, "kernel-ridge": {}, "ridge": {}, "asif": {}},
    },
    "procrustes": {"kind": "closed-form", "local_tokens": "mean", "forms": {"procrustes": {}}},
    "auto": {"kind": "auto"},
}  # fmt: skip


@pytest.fixture
def heard(world: World) -> World:
    write_sounds(world)
    world.write_selection("shown")
    return world


def fitted(world: World, name: str, **sections: Any) -> HeadConfig:
    settings = config_with_sounds(world, **sections).settings("train", name)
    assert isinstance(settings, TrainSettings)
    return fit_aligner(settings)


def recall(first: np.ndarray, second: np.ndarray) -> float:
    """Share of rows whose own partner is nearest; chance is one over their number."""
    scores = first @ second.T
    return float((scores.argmax(1) == np.arange(len(scores))).mean())


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("name", ["heard", "shown"])
def test_every_kind_of_head_joins_sounds_with_texts_and_pictures(heard: World, kind: str, name: str) -> None:
    params = {"aligners": {name: _entry(name) | {"head": HEADS[kind]}}}
    others = [other for other in ("heard", "control-heard", "shown", "control-shown") if other != name]
    config = _only(heard, params, others)
    settings = config.settings("train", name)
    assert isinstance(settings, TrainSettings)
    recorded = fit_aligner(settings)
    sides = {"heard": ("audio", "text"), "shown": ("image", "audio")}[name]
    assert tuple(recorded.modalities) == sides
    assert recorded.widths == ({"image": HEARD, "text": TEXT} if name == "heard" else {"image": VISION, "text": HEARD})
    heads = ProjectionHeads.from_folder(MODELS / name, 0)
    pairs = read_caption_pairs([DATASET], 2, modality="audio") if name == "heard" else None
    pairs = read_linked_pairs("audio", [DATASET], 2) if pairs is None else pairs
    test = pairs.of(0, "test")
    texts, where = np.unique(test.text_id.astype(str), return_index=True)
    images = test.image_id.astype(str)[where]
    views = ("ear", "minilm") if name == "heard" else ("vit", "ear")
    first, second = (FeatureStore.open(store_folder("pairs", view, DATASET)) for view in views)
    found = recall(embed_stored_images(heads, first, images), embed_stored_texts(heads, second, texts))
    assert found > 5 / len(texts), f"{found} against chance {1 / len(texts)}"


def _entry(name: str) -> dict[str, Any]:
    return {
        "heard": {"views": ["ear", "minilm"], "data": "heard"},
        "shown": {"views": ["vit", "ear"], "data": "shown"},
    }[name]


def _only(world: World, params: dict[str, Any], without: list[str]) -> Any:
    """The config with some aligners left out, so that their heads need not fit the changed one."""
    raw = params_with_sounds(world)
    raw["aligners"] = {name: one for name, one in raw["aligners"].items() if name not in without} | params["aligners"]
    raw["evaluate"] |= {"control": {"default": "control"}, "versus": {}, "tasks": {}}
    raw["added"] = {}
    return validated(world, raw)


def test_pairs_are_joined_by_id_and_split_by_family(heard: World) -> None:
    settings = config_with_sounds(heard).settings("train", "shown")
    assert isinstance(settings, TrainSettings)
    data = load_alignment_data("shown", settings.fit, 2, torch.device("cpu"))
    pictures, sounds = (FeatureStore.open(store_folder("pairs", view, DATASET)) for view in ("vit", "ear"))
    by_features = {
        row.tobytes(): key for key, row in zip(pictures.ids, pictures.read("cls", pictures.ids), strict=True)
    }
    by_sound = {row.tobytes(): key for key, row in zip(sounds.ids, sounds.read("cls", sounds.ids)[:, -1], strict=True)}
    split = {sample["image_id"]: sample["split_1"] for sample in heard.samples}
    for rows, wanted in ((data.train[1], "train"), (data.validation[1], "validation")):
        images = data.features.images.read(rows[:, 0]).cls.numpy()
        texts = data.features.texts.read(rows[:, 1]).tokens[:, 0].numpy()
        assert len(rows) == sum(split[key] == wanted for key in pictures.ids)
        for image, text in zip(images, texts, strict=True):
            identifier = by_features[image[None].tobytes()]
            assert by_sound[text.tobytes()] == sound_of(identifier)
            assert split[identifier] == wanted


def test_a_pair_whose_samples_are_in_two_splits_is_in_none(heard: World) -> None:
    path = heard.root / "data/splits/audio_samples.parquet"
    table = pq.read_table(path)
    rows = table.to_pylist()
    moved = next(row for row in rows if row["split_0"] == "test")
    moved["split_0"] = "train"
    pq.write_table(type(table).from_pylist(rows, table.schema), path)
    pairs = read_linked_pairs("audio", [DATASET], 2)
    own = pairs.where(pairs.text_id == moved["audio_id"])
    assert len(own) == 1
    assert own.splits[0, 0] is None
    assert not (own.splits[:, 0] == "train").any()
    assert not (own.splits[:, 0] == "test").any()
    assert own.splits[0, 1] == moved["split_1"]


def test_sounds_stand_in_fused_views_on_either_side(heard: World) -> None:
    other = FeatureStore.open(store_folder("pairs", "ear", DATASET))
    features = other.read("cls", other.ids)[:, -1].astype(float)[:, ::-1] * 40 + 3
    write_heard("horn", other.ids.tolist(), features)
    raw = params_with_sounds(heard)
    raw["encoders"]["horn"] = raw["encoders"]["ear"]
    raw["views"] |= {"horn": raw["views"]["ear"] | {"encoder": "horn"}, "both": {"concat": ["ear", "horn"]}}
    raw["stores"]["pairs"]["stamps-horn"] = {"dataset": DATASET, "view": "horn", "encoder": "horn"}
    head = {"kind": "closed-form", "local_tokens": "grid", "image_input": "mean", "forms": {"cca": {}}}
    raw["fused"] = {
        "first": {"views": ["both", "minilm"], "data": "heard", "head": head},
        "second": {"views": ["vit", "both"], "data": "shown", "head": head | {"local_tokens": "mean"}},
    }
    raw["evaluate"]["tasks"] = {}
    config = validated(heard, raw)
    for name, width in (
        ("first", {"image": 2 * HEARD, "text": TEXT}),
        ("second", {"image": VISION, "text": 2 * HEARD}),
    ):
        settings = config.settings("train", name)
        assert isinstance(settings, TrainSettings)
        recorded = fit_aligner(settings)
        assert recorded.widths == width
        assert "audio" in recorded.modalities


def test_a_config_of_pictures_and_texts_has_the_fields_that_it_had(heard: World) -> None:
    fitted(heard, "default")
    written = json.loads((MODELS / "default/config.json").read_text())
    assert list(written) == [
        "aligner", "head", "views", "widths", "embed_dim", "fingerprints", "data", "repeats", "seeds", "best_epochs",
        "parameters", "kept", "choices", "fusions", "format",
    ]  # fmt: skip
    settings = config_with_sounds(heard).settings("train", "default")
    dumped = json.loads(settings.model_dump_json())
    assert list(dumped["fit"]) == ["image", "text", "datasets", "data", "head", "compare", "fusions"]
    assert json.loads(config_with_sounds(heard).settings("train", "heard").model_dump_json())["fit"]["modalities"] == {
        "image": "audio"
    }


def test_what_is_missing_is_named(heard: World) -> None:
    (Path("data/splits/audio_pairs.parquet")).unlink()
    with pytest.raises(DataError, match="audio_pairs.parquet"):
        fitted(heard, "heard")


@pytest.mark.parametrize("name", ["heard", "shown"])
def test_kinds_leave_other_sounds_out_of_the_fit_and_are_recorded(heard: World, name: str) -> None:
    raw = params_with_sounds(heard)
    raw["aligners"][name]["kinds"] = ["effect"]
    raw["aligners"][f"control-{name}"]["kinds"] = ["effect"]
    settings = validated(heard, raw).settings("train", name)
    assert isinstance(settings, TrainSettings)
    data = load_alignment_data(name, settings.fit, 2, torch.device("cpu"))
    every = config_with_sounds(heard).settings("train", name)
    assert isinstance(every, TrainSettings)
    whole = load_alignment_data(name, every.fit, 2, torch.device("cpu"))
    effects = sum(sample["split_0"] == "train" for sample in _effects(heard))
    assert len(data.train[0]) == effects < len(whole.train[0])
    assert fit_aligner(settings).kinds == ("effect",)
    assert HeadConfig.read(MODELS / name).kinds == ("effect",)


def _effects(world: World) -> list[dict[str, Any]]:
    rows = pq.read_table(world.root / "data/splits/audio_samples.parquet").to_pylist()
    return [row for row in rows if row["kind"] == "effect"]


@pytest.mark.parametrize(("name", "said", "unsaid"), [("heard", "sounds", "images"), ("shown", "images", "sounds")])
def test_what_is_said_of_a_fit_names_what_stands_first(
    heard: World, name: str, said: str, unsaid: str, caplog: pytest.LogCaptureFixture
) -> None:
    head = {"kind": "closed-form", "local_tokens": "mean", "forms": {"kernel-ridge": {}}}
    others = [other for other in ("heard", "control-heard", "shown", "control-shown") if other != name]
    settings = _only(heard, {"aligners": {name: _entry(name) | {"head": head}}}, others).settings("train", name)
    assert isinstance(settings, TrainSettings)
    with caplog.at_level("INFO"):
        fit_aligner(settings)
    assert f"training {said}" in caplog.text
    assert unsaid not in caplog.text


def test_vectors_that_are_all_the_same_are_called_by_what_they_are() -> None:
    ones, sums = torch.full((4, 3), 0.5), MomentSums()
    sums.add(ones, ones)
    with pytest.raises(DataError, match="Expected sound vectors of some pairs that differ"):
        require_spread_of_pairs(sums.moments(), "some pairs", ("audio", "text"))
