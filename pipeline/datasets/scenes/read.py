"""Reads composed scenes: their masks, what each instance is, and their captions."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.datasets.scenes.build import MASKS_FILE, OBJECTS_FILE, ROLE
from pipeline.datasets.tables import read_table
from pipeline.errors import DataError


@dataclass(frozen=True)
class SceneObject:
    """One object: row of its scene, instance number in the mask, where it comes from, what it is, visible pixels."""

    scene: int
    instance: int
    dataset: str
    piece_id: str
    concept: str
    category: str | None
    pixels: int


@dataclass(frozen=True)
class Scenes:
    """Composed scenes in the order of images.parquet.

    Attributes:
        ids: (N,) str, image ids.
        captions: (N,) str, text id of the long caption of each.
        instances: (N, size, size) uint8; 0 background, k the object with `instance` k.
        objects: of all scenes; within a scene the largest first.
    """

    ids: np.ndarray
    captions: np.ndarray
    instances: np.ndarray
    objects: tuple[SceneObject, ...]

    def __len__(self) -> int:
        return len(self.ids)


def read_scenes(folder: Path) -> Scenes:
    """Read what `build_scenes` wrote.

    Raises:
        DataError: a file is missing, damaged, or the files are from different runs.
    """
    remedy = "Compose the scenes again with: dvc repro scenes"
    ids: list[str] = read_table(folder / "images.parquet", ["image_id"]).column("image_id").to_pylist()
    path = folder / MASKS_FILE
    try:
        with np.load(path, allow_pickle=False) as archive:
            instances: np.ndarray = archive["instances"]
    except FileNotFoundError as error:
        raise DataError(f"No masks at {path}. {remedy}") from error
    except Exception as error:  # numpy, zipfile and zlib raise all sorts of errors on damaged archives
        raise DataError(f"{path} cannot be read as masks ({type(error).__name__}: {error}). {remedy}") from error
    if instances.dtype != np.uint8 or instances.ndim != 3 or len(instances) != len(ids):
        raise DataError(
            f"{path} holds {instances.dtype} of shape {instances.shape}; expected uint8 masks of {len(ids)} scenes. "
            f"{remedy}"
        )
    scene_of = {identifier: row for row, identifier in enumerate(ids)}
    pairs = read_table(folder / "pairs.parquet", ["image_id", "text_id", "role"]).to_pylist()
    caption_of = {row["image_id"]: row["text_id"] for row in pairs if row["role"] == ROLE}
    rows = read_table(folder / OBJECTS_FILE).to_pylist()
    unknown = {row["image_id"] for row in rows} - scene_of.keys() | (scene_of.keys() ^ caption_of.keys())
    if unknown:
        raise DataError(
            f"The tables in {folder} are from different runs: image {min(unknown)} is not in all of them. {remedy}"
        )
    columns = ("instance", "dataset", "piece_id", "concept", "category", "pixels")
    return Scenes(
        ids=np.array(ids, dtype=str),
        captions=np.array([caption_of[identifier] for identifier in ids], dtype=str),
        instances=instances,
        objects=tuple(SceneObject(scene_of[row["image_id"]], *(row[name] for name in columns)) for row in rows),
    )
