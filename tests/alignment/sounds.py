"""Sounds in the toy world: tables of a further modality, and views of it with the relation planted as for pictures."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import yaml

from pipeline.config import Config, load_config
from pipeline.datasets.tables import write_table
from pipeline.features import FeatureStore
from pipeline.paths import store_folder
from tests.alignment.toy import World, write_store

HEARD, PARTS = 20, 3  # width of the features of sounds, and parts of the time
DATASET = "stamps"
CLOSED = {
    "kind": "closed-form", "local_tokens": "mean", "forms": {"cca": {"shrink": 1.0}, "kernel-ridge": {"ridge": 0.3}},
}  # fmt: skip
MAP = {"kind": "closed-form", "local_tokens": "none", "image_input": "cls", "forms": {"kernel-ridge": {"ridge": 0.1}}}


def sound_of(image: str) -> str:
    return f"sound-{image}"


def write_sounds(world: World) -> None:
    """A sound for every picture of the data set: effects, and speech in Spanish for every other one.

    View `ear` hears what the picture shows; `deaf` has the same features given to the wrong sounds.
    """
    rng = np.random.default_rng(11)
    pictures = FeatureStore.open(store_folder("pairs", "vit", DATASET))
    ids = pictures.ids.tolist()
    shown = pictures.read("cls", ids)[:, -1].astype(float)
    heard = shown @ rng.normal(size=(shown.shape[1], HEARD)) / 3 + 0.1 * rng.normal(size=(len(ids), HEARD))
    rows = {sample["image_id"]: sample for sample in world.samples if sample["dataset"] == DATASET}
    samples, pairs, links = [], [], []
    for number, image in enumerate(ids):
        own = {key: value for key, value in rows[image].items() if key != "image_id"}
        spoken = number % 2 == 1
        own |= {"kind": "speech" if spoken else "effect", "language": "es" if spoken else None, "development": False}
        samples.append({"audio_id": sound_of(image)} | own)
        links.append({"dataset": DATASET, "audio_id": sound_of(image), "image_id": image})
        texts = [pair for pair in world.pairs if pair["image_id"] == image and pair["language"] == "en"]
        pairs += [
            {"dataset": DATASET, "audio_id": sound_of(image), "text_id": pair["text_id"], "language": "en",
             "role": "caption"}
            for pair in texts
        ]  # fmt: skip
    for name, table in (("samples", samples), ("pairs", pairs), ("images", links)):
        write_table(pa.Table.from_pylist(table), world.root / f"data/splits/audio_{name}.parquet")
    for view, features in (("ear", heard), ("deaf", rng.permutation(heard))):
        write_heard(view, [sound_of(image) for image in ids], features)
    select(world, "heard", [sample["audio_id"] for sample in samples], samples)


def write_heard(view: str, ids: Sequence[str], features: np.ndarray) -> None:
    rng = np.random.default_rng(3)
    grid = features[:, None, :] + 0.1 * rng.normal(size=(len(ids), PARTS, HEARD))
    arrays = {"cls": features[:, None, :], "mean": grid.mean(axis=1, keepdims=True), "grid": grid}
    half = {name: value.astype(np.float16) for name, value in arrays.items()}
    folder = store_folder("pairs", view, DATASET)
    write_store(folder, list(ids), half, f"digest-{view}", compared={"modality": "audio"})


def select(world: World, name: str, ids: Sequence[str], samples: Sequence[dict[str, Any]]) -> None:
    """A curation of sounds: every one of the train split."""
    rows = [
        {"repeat": repeat, "dataset": DATASET, "image_id": sample["audio_id"]}
        for repeat in range(world.repeats)
        for sample in samples
        if sample[f"split_{repeat}"] == "train" and sample["audio_id"] in set(ids)
    ]
    write_table(pa.Table.from_pylist(rows), world.root / "data/curation" / name / "selected.parquet")


def params_with_sounds(world: World, **sections: Any) -> dict[str, Any]:
    """The project's own params.yaml, made small, with an aligner of each pair of modalities and one that is added."""
    world.config()
    params: dict[str, Any] = yaml.safe_load((world.root / "params.yaml").read_text())
    encoder = {"modality": "audio", "source": "embedded", "model": "whisper-tiny.en", "loader": "transformers"}
    params["encoders"] |= {
        "ear": encoder | {"pooling": "mean"}, "deaf": encoder | {"pooling": "mean", "model": "random-whisper-tiny"},
    }  # fmt: skip
    params["views"] |= {name: {"encoder": name, "seconds": 5.0, "tier": "grid", "grid": 3} for name in ("ear", "deaf")}
    params["datasets"][DATASET] |= {"effects": True, "speech": ["es"]}
    params["stores"]["pairs"] |= {
        f"{DATASET}-{view}": {"dataset": DATASET, "view": view, "encoder": view} for view in ("ear", "deaf")
    }
    params["curations"] |= {
        "heard": {"pool": [DATASET], "view": "ear"}, "shown": {"pool": [DATASET], "view": "vit"},
    }  # fmt: skip
    params["aligners"]["default"]["head"] = params["aligners"]["control"]["head"] = CLOSED
    params["aligners"] |= {
        "heard": {"views": ["ear", "minilm"], "data": "heard", "head": CLOSED},
        "control-heard": {"views": ["deaf", "minilm"], "data": "heard", "head": {"same_as": "heard"}},
        "shown": {"views": ["vit", "ear"], "data": "shown", "head": CLOSED},
        "control-shown": {"views": ["vit", "deaf"], "data": "shown", "head": {"same_as": "shown"}},
    }
    params["added"] = {
        "further": {"to": "default", "view": "ear", "by": "minilm", "data": "heard", "head": MAP},
        "control-further": {
            "to": "default", "view": "deaf", "by": "minilm", "data": "heard", "head": {"same_as": "further"},
        },
    }  # fmt: skip
    params["evaluate"]["tasks"] |= {
        "cross_retrieval": {
            "sets": [
                {"dataset": DATASET, "between": ["audio", "text"]}, {"dataset": DATASET, "between": ["image", "audio"]},
            ],
            "recall_at": [1, 5],
        },
        "cross_classification": {"classes": [{"dataset": DATASET, "label": "category"}]},
    }  # fmt: skip
    params["evaluate"] |= {
        "control": {name: f"control-{name}" for name in ("heard", "shown", "further")} | {"default": "control"},
        "versus": {"shown": "further"},
        "showcase": "default",
    }
    for section, change in sections.items():
        params[section] = params.get(section, {}) | change
    return params


def config_with_sounds(world: World, **sections: Any) -> Config:
    """The same, validated."""
    return validated(world, params_with_sounds(world, **sections))


def validated(world: World, params: dict[str, Any]) -> Config:
    path = world.root / "params.yaml"
    path.write_text(yaml.safe_dump(params, sort_keys=False))
    return load_config(path)
