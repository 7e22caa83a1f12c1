"""The index of composed scenes: pictures, long captions, masks and objects."""

import io
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.config import ScenesSpec
from pipeline.datasets.builder import IndexBuilder
from pipeline.datasets.scenes.caption import long_caption
from pipeline.datasets.scenes.compose import Composition, compose
from pipeline.datasets.scenes.draws import uniform
from pipeline.datasets.scenes.pool import Piece, read_pieces
from pipeline.datasets.tables import OBJECTS, write_table
from pipeline.errors import DataError
from pipeline.files import write_json
from pipeline.progress import tqdm

log = logging.getLogger(__name__)

MASKS_FILE = "masks.npz"
OBJECTS_FILE = "objects.parquet"
ROLE = "long"
TRAINING = 1_000_000  # number of the first training scene; test scenes have lower numbers


def build_scenes(indexes: Mapping[str, Path], params: ScenesSpec, out: Path) -> dict[str, Any]:
    """Compose scenes and write their index into `out`.

    Beside the usual tables (images.parquet with images.tar, texts.parquet and pairs.parquet with one caption per scene
    of role "long", about.json with `composed: true`) come masks.npz (`instances`, (N, size, size) uint8 in the order of
    images.parquet: 0 background, k object k, exact after occlusion) and objects.parquet. The same indexes give the same
    bytes; neither splits nor the seed matter, so a new split never causes a backbone pass.

    Args:
        indexes: data set name -> its index, in the order of `params.pieces`.
        params: what for, how many, how large, how many objects (from, to). Scenes for training are others.
        out: the folder to write.

    Returns:
        What about.json holds; without a single cut-out the tables are empty and `available` is false, with a reason.

    Raises:
        DataError: an index is missing or damaged, has too few concepts, or a scene has no room.
    """
    pieces = read_pieces(indexes)
    concepts = len({piece.concept for piece in pieces})
    low, high = params.objects
    if pieces and concepts < high:
        raise DataError(
            f"scenes.objects goes up to {high} different concepts in a scene; {', '.join(indexes)} hold {concepts}. "
            "Lower scenes.objects in params.yaml or name more data sets in scenes.pieces."
        )
    about: dict[str, Any] = {"source": "scenes", "composed": True, "pieces": list(indexes), "languages": ["en"]}
    if not pieces:
        reason = f"no cut-outs in {', '.join(indexes)}: see the messages of the stage index"
        log.warning("warning: no scene is composed: %s", reason)
        about |= {"available": False, "reason": reason}
    masks: list[np.ndarray] = []
    objects: list[dict[str, Any]] = []
    first = TRAINING if params.use == "training" else 0
    numbers = range(first, first + params.count)
    with IndexBuilder(out) as builder:
        for number in tqdm(numbers if pieces else (), desc=out.name, unit="scene", mininterval=1.0):
            count = low + int(uniform(number, "objects") * (high - low + 1))
            scene = compose(number, pieces, count, params.size)
            image = builder.add_image(_png(scene), f"scene-{number}")
            if builder.counts["images"] == len(masks):
                raise DataError(f"Scene {number} equals an earlier one. Lower the number of scenes or add cut-outs.")
            text = builder.add_text(long_caption(number, scene), "en", ROLE)
            builder.link(image, text, "en", ROLE)
            masks.append(scene.instances)
            objects += _rows(image, scene)
        about = builder.finish(about)
    _write_masks(np.array(masks, dtype=np.uint8).reshape(-1, params.size, params.size), out / MASKS_FILE)
    write_table(pa.Table.from_pylist(objects, schema=OBJECTS), out / OBJECTS_FILE)
    about["counts"] |= {"objects": len(objects), "pieces": len(pieces)}
    write_json(about, out / "about.json")
    return about


def _rows(image: str, scene: Composition) -> list[dict[str, Any]]:
    def row(instance: int, piece: Piece, pixels: int) -> dict[str, Any]:
        return {
            "image_id": image,
            "instance": instance,
            "dataset": piece.dataset,
            "piece_id": piece.image_id,
            "concept": piece.concept,
            "category": piece.category,
            "pixels": pixels,
        }

    return [row(k, placed.piece, placed.pixels) for k, placed in enumerate(scene.objects, start=1)]


def _png(scene: Composition) -> bytes:
    buffer = io.BytesIO()
    scene.image.save(buffer, format="PNG", compress_level=6)
    return buffer.getvalue()


def _write_masks(instances: np.ndarray, path: Path) -> None:
    """Write whole or not at all; numpy stores no times in the archive, so equal masks give equal bytes."""
    partial = path.with_name(path.name + ".partial")
    with open(partial, "wb") as file:
        np.savez_compressed(file, instances=instances)
    os.replace(partial, path)
