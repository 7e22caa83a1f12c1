"""Fitting a dense head: every repeat, to the objects of training scenes whose families that repeat trains on."""

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.alignment.dense.captions import caption_regions
from pipeline.alignment.dense.head import CONFIG_FILE, FORMAT, DenseHead, unit_rows
from pipeline.alignment.dense.regions import object_tokens
from pipeline.config import AnyDenseHead, CaptionHeadSpec, DenseHeadSpec
from pipeline.datasets.caption_pairs import read_caption_pairs, samples_by_image
from pipeline.datasets.scenes import SceneObject, Scenes, read_scenes
from pipeline.errors import DataError
from pipeline.features import FeatureStore
from pipeline.features.views import open_view
from pipeline.features.visible import seen_share
from pipeline.files import write_json
from pipeline.paths import DENSE_HEADS, index_folder, store_folder

log = logging.getLogger(__name__)
_SCENES = 64  # whose patch tokens are read at once


@dataclass(frozen=True)
class TrainingObjects:
    """Objects of composed training scenes that are large enough, and whose pictures have captions.

    Attributes:
        tokens: (n, D) float32, the mean of the patch tokens of each by its exact mask.
        texts: (n, T) float32, the mean of the unit sentence embeddings of the captions of its picture.
        scenes: (n,) int64, the training scene of each.
        train: (n, R) bool, whether its family is in the train split of each repeat.
        fingerprints: "image" and "text", of the stores.
    """

    tokens: np.ndarray
    texts: np.ndarray
    scenes: np.ndarray
    train: np.ndarray
    fingerprints: dict[str, dict[str, Any]]

    def regions(self, chosen: np.ndarray) -> np.ndarray:
        """The tokens of the objects at which `chosen` (n,) is true."""
        tokens: np.ndarray = self.tokens[chosen]
        return tokens


@dataclass(frozen=True)
class CaptionedObjects:
    """Objects of composed training scenes whose pictures have captions; nothing says where in its scene an object is.

    Attributes:
        patch: (N, P, D), the patch tokens of the scenes.
        grid: rows and columns of patches.
        texts, scenes, train, fingerprints: as in `TrainingObjects`, the scenes by their place in `patch`.
        how: the entry of the head.
    """

    patch: np.ndarray
    grid: tuple[int, int]
    texts: np.ndarray
    scenes: np.ndarray
    train: np.ndarray
    fingerprints: dict[str, dict[str, Any]]
    how: CaptionHeadSpec

    def regions(self, chosen: np.ndarray) -> np.ndarray:
        """The tokens that fit the captions of the objects at which `chosen` (n,) is true; see `caption_regions`.

        Other captions of a scene are not read, and their objects are there as context.
        """
        seen, picture = np.unique(self.scenes[chosen], return_inverse=True)
        return caption_regions(self.patch[seen], self.grid, self.texts[chosen], picture, self.how)


def fit_dense_head(name: str, spec: AnyDenseHead, repeats: int) -> Path:
    """Fit the dense head `name` once per split to its training scenes, and write data/dense/<name>.

    Without a single training scene only its configuration is written, with a warning.

    Raises:
        PermafrostError: as `training_objects` and `captioned_objects`.
        DataError: a repeat has too few objects.
    """
    folder = DENSE_HEADS / name
    scenes = read_scenes(index_folder("scenes", spec.scenes))
    if not len(scenes):
        log.warning("warning: %s: no training scene was composed, so no dense head is fitted", name)
        write_json({"format": FORMAT, "scale": 1.0, "fingerprints": {}}, folder / CONFIG_FILE)
        return folder
    objects: TrainingObjects | CaptionedObjects
    if isinstance(spec, CaptionHeadSpec):
        objects = captioned_objects(spec, repeats, scenes)
    else:
        objects = training_objects(spec, repeats, scenes)
    for repeat in range(repeats):
        chosen = objects.train[:, repeat]
        if chosen.sum() < 2:
            raise DataError(
                f"Dense head {name!r}: repeat {repeat} has {chosen.sum()} objects to train on, 2 are needed."
            )
        tokens = objects.regions(chosen)
        head = DenseHead.fit(tokens, objects.texts[chosen], spec.regularisation, objects.fingerprints)
        head.save(folder, repeat)
        log.info("%s repeat %d: fitted to %d objects of %d scenes", name, repeat, chosen.sum(), len(scenes))
    return folder


def training_objects(spec: DenseHeadSpec, repeats: int, scenes: Scenes) -> TrainingObjects:
    """What a dense head learns from.

    Args:
        scenes: the training scenes; those that are evaluated are others.

    Raises:
        DataError: tables, masks and stores do not fit each other, or the image view has no patch tokens.
        StoreError: a store is missing or damaged.
        FingerprintMismatch: as `open_view`, of the texts.
    """
    store = _store(spec)
    objects = _usable(scenes, store)
    tokens, large = _tokens(scenes, objects, store)
    texts, fingerprint = _texts(objects, spec.text, repeats)
    kept = large & np.isfinite(texts).all(axis=1)
    return TrainingObjects(
        tokens=tokens[kept],
        texts=texts[kept],
        scenes=np.array([thing.scene for thing in objects], dtype=np.int64)[kept],
        train=_train(objects, repeats)[kept],
        fingerprints={"image": store.fingerprint, "text": fingerprint},
    )


def captioned_objects(spec: CaptionHeadSpec, repeats: int, scenes: Scenes) -> CaptionedObjects:
    """What a dense head learns from without masks; arguments and errors as for `training_objects`."""
    store = _store(spec)
    objects = _usable(scenes, store)
    texts, fingerprint = _texts(objects, spec.text, repeats)
    kept = np.isfinite(texts).all(axis=1)
    seen, place = np.unique([thing.scene for thing in objects], return_inverse=True)
    height, width = store.attributes["patch_grid"]
    return CaptionedObjects(
        patch=store.read("patch", scenes.ids[seen]),
        grid=(int(height), int(width)),
        texts=texts[kept],
        scenes=place[kept],
        train=_train(objects, repeats)[kept],
        fingerprints={"image": store.fingerprint, "text": fingerprint},
        how=spec,
    )


def _store(spec: AnyDenseHead) -> FeatureStore:
    store = FeatureStore.open(store_folder("scenes", spec.image, spec.scenes))
    if "patch" not in store.names:
        raise DataError(f"{store.folder} holds {', '.join(store.names)}; a dense head needs a view of `tier: full`.")
    return store


def _train(objects: Sequence[SceneObject], repeats: int) -> np.ndarray:
    """Whether the family of each object is in the train split, (n, R) bool."""
    split_of = samples_by_image((), repeats)
    splits = np.array([split_of[o.dataset, o.piece_id] for o in objects], dtype=str).reshape(len(objects), repeats)
    train: np.ndarray = splits == "train"
    return train


def _usable(scenes: Scenes, store: FeatureStore) -> list[SceneObject]:
    """The visible objects of scenes that could be encoded, scene by scene."""
    served = store.servable(scenes.ids)
    return sorted((o for o in scenes.objects if served[o.scene] and o.pixels), key=lambda o: (o.scene, o.instance))


def _tokens(scenes: Scenes, objects: Sequence[SceneObject], store: FeatureStore) -> tuple[np.ndarray, np.ndarray]:
    """See `object_tokens`."""
    height, width = store.attributes["patch_grid"]
    numbers: dict[int, list[int]] = defaultdict(list)
    for thing in objects:
        numbers[thing.scene].append(thing.instance)
    order = sorted(numbers)
    parts = []
    for start in range(0, len(order), _SCENES):
        some = order[start : start + _SCENES]
        patches = store.read("patch", scenes.ids[some])
        wanted = [np.array(numbers[scene], dtype=np.uint8) for scene in some]
        share = seen_share(store.fingerprint)
        parts.append(object_tokens(list(patches), scenes.instances[some], wanted, (int(height), int(width)), share))
    return np.concatenate([tokens for tokens, _ in parts]), np.concatenate([large for _, large in parts])


def _texts(objects: Sequence[SceneObject], view: str, repeats: int) -> tuple[np.ndarray, dict[str, Any]]:
    """The text of each object (n, T), NaN where its picture has no caption, and the fingerprint of the texts."""
    datasets = tuple(dict.fromkeys(thing.dataset for thing in objects))
    pairs = read_caption_pairs(datasets, repeats)
    text_of: dict[tuple[str, str], np.ndarray] = {}
    stores = open_view(view, datasets)
    for dataset, store in stores.items():
        captions = pairs.where(pairs.dataset == dataset)
        captions = captions.where(store.servable(captions.text_id.astype(str)))
        vectors = unit_rows(store.read("pooled", captions.text_id.astype(str)))
        rows_of: dict[str, list[int]] = defaultdict(list)
        for row, image in enumerate(captions.image_id.tolist()):
            rows_of[image].append(row)
        text_of |= {(dataset, image): vectors[rows].mean(axis=0) for image, rows in rows_of.items()}
    width = stores[datasets[0]].shape("pooled")[-1]
    nothing = np.full(width, np.nan, dtype=np.float32)
    texts = np.stack([text_of.get((thing.dataset, thing.piece_id), nothing) for thing in objects])
    return texts, stores[datasets[0]].fingerprint
