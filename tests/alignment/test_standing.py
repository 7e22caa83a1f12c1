"""A further modality in the space of an aligner: nothing of it moves, bit by bit, and sounds find their place there."""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.alignment import HeadConfig, ProjectionHeads, fit_aligner
from pipeline.alignment.vectors import embed_stored_images, embed_stored_texts
from pipeline.config import TrainSettings
from pipeline.datasets.caption_pairs import read_linked_pairs
from pipeline.errors import ModelError
from pipeline.features import FeatureStore
from pipeline.paths import MODELS, store_folder
from tests.alignment.sounds import DATASET, MAP, config_with_sounds, write_sounds
from tests.alignment.test_sides import recall
from tests.alignment.toy import World

MAPS: dict[str, dict[str, Any]] = {
    "kernel-ridge": MAP,
    "nystrom": MAP | {"forms": {"kernel-ridge": {"features": "nystrom", "size": 64, "ridge": [0.1, 1.0]}}},
    "ridge": {"kind": "closed-form", "local_tokens": "mean", "forms": {"ridge": {"ridge": 0.01}}},
    "whitened": {
        "kind": "closed-form", "local_tokens": "mean", "forms": {"ridge": {}}, "whitening": {"sides": "image"},
    },
    "linear": {"kind": "linear", "local_tokens": "mean", "train": {"epochs": 80}},
    "mlp": {"kind": "mlp", "local_tokens": "mean", "train": {"epochs": 80}},
}  # fmt: skip


@pytest.fixture
def heard(world: World) -> World:
    write_sounds(world)
    world.write_selection("shown")
    fit(world, "default")
    return world


def fit(world: World, name: str, **sections: Any) -> HeadConfig:
    settings = config_with_sounds(world, **sections).settings("train", name)
    assert isinstance(settings, TrainSettings)
    return fit_aligner(settings)


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 by file of configuration and heads."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.safetensors")}
    found["config.json"] = folder / "config.json"
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in found.items()}


@pytest.mark.parametrize("kind", MAPS)
def test_the_space_stands_and_sounds_come_near_their_texts_and_pictures(heard: World, kind: str) -> None:
    before = digests(MODELS / "default")
    entry = {"to": "default", "view": "ear", "by": "minilm", "data": "heard"}
    fit(heard, "further", added={"further": entry | {"head": MAPS[kind]}, "control-further": entry | {
        "view": "deaf", "head": {"same_as": "further"}}})  # fmt: skip
    assert digests(MODELS / "default") == before
    assert digests(MODELS / "further/space") == before
    own = ProjectionHeads.from_folder(MODELS / "further", 1)
    standing = ProjectionHeads.from_folder(MODELS / "default", 1)
    assert own.space is not None
    stores = {view: FeatureStore.open(store_folder("pairs", view, DATASET)) for view in ("vit", "minilm", "ear")}
    texts, pictures = stores["minilm"].ids[:40], stores["vit"].ids[:40]
    assert (
        embed_stored_texts(own, stores["minilm"], texts).tobytes()
        == embed_stored_texts(standing, stores["minilm"], texts).tobytes()
    )
    assert (
        embed_stored_images(own.space, stores["vit"], pictures).tobytes()
        == embed_stored_images(standing, stores["vit"], pictures).tobytes()
    )
    pairs = read_linked_pairs("audio", [DATASET], 2).of(1, "test")
    sounds = embed_stored_images(own, stores["ear"], pairs.text_id.astype(str))
    assert sounds.shape[1] == standing.config.embed_dim
    np.testing.assert_allclose(np.linalg.norm(sounds, axis=1), 1, atol=1e-5)
    shown = embed_stored_images(standing, stores["vit"], pairs.image_id.astype(str))
    assert recall(sounds, shown) > 3 / len(shown)  # of pairs that nothing was fitted to; chance is 1 /


def test_the_same_settings_give_the_same_bytes(heard: World) -> None:
    fit(heard, "further")
    before = digests(MODELS / "further")
    shutil.rmtree(MODELS / "further")
    fit(heard, "further")
    assert digests(MODELS / "further") == before


def test_a_space_that_is_missing_or_of_other_texts_is_named(heard: World) -> None:
    config = HeadConfig.read(MODELS / "default")
    changed = {**config.fingerprints, "text": config.fingerprints["text"] | {"digest": "other"}}
    HeadConfig(**{**vars(config), "fingerprints": changed}).write(MODELS / "default")
    with pytest.raises(ModelError, match="fitted to other features of texts.*dvc repro train@default"):
        fit(heard, "further")
    HeadConfig(**{**vars(config), "repeats": 3}).write(MODELS / "default")
    with pytest.raises(ModelError, match="fitted 3 times.*expected 2 times"):
        fit(heard, "further")
    shutil.rmtree(MODELS / "default")
    with pytest.raises(ModelError, match="No fitted aligner"):
        fit(heard, "further")


def test_a_damaged_space_is_refused_when_it_is_loaded(heard: World) -> None:
    fit(heard, "further")
    path = MODELS / "further/space/repeat_0/heads.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ModelError, match="damaged"):
        ProjectionHeads.from_folder(MODELS / "further", 0)


def test_a_space_within_itself_or_of_another_width_is_refused(heard: World) -> None:
    own = fit(heard, "further")
    folder = MODELS / "further/space"
    standing = HeadConfig.read(folder)
    HeadConfig(**{**vars(standing), "embed_dim": standing.embed_dim + 1}).write(folder)
    with pytest.raises(ModelError, match=f"it has {standing.embed_dim + 1} dimensions"):
        ProjectionHeads.from_folder(MODELS / "further", 0)
    shutil.rmtree(folder)
    folder.symlink_to(MODELS.resolve() / "further")
    assert own.space
    with pytest.raises(ModelError, match="was added to a space itself"):
        ProjectionHeads.from_folder(MODELS / "further", 0)
