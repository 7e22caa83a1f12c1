"""A map of pictures and captions as a Parquet file that `embedding-atlas` opens: embedding-atlas atlas.parquet ...

A row is a picture or its first English caption. `x` and `y` are its place on the map, `neighbors` the nearest rows of
both kinds by cosine, in the form that the program reads: {"ids": row numbers, "distances": 1 - cosine}, itself first.
"""

import io
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from pipeline.errors import DataError
from pipeline.explorer.collection import Collection
from pipeline.explorer.flat_map import Plane, on_plane, samples_of
from pipeline.explorer.project import Project

OPTIONS = "--text text --image image --x x --y y --neighbors neighbors --pagerank rank"  # without the last: minutes
_BLOCK = 1024  # rows whose cosines with all rows are held
_GROUP = 512  # rows of a row group, whose pictures are held
_PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_NEIGHBOURS = pa.struct([("ids", pa.list_(pa.int64())), ("distances", pa.list_(pa.float32()))])
SCHEMA = pa.schema(
    {
        "id": pa.string(), "kind": pa.string(), "text": pa.string(), "image": _PICTURE, "x": pa.float32(),
        "y": pa.float32(), "neighbors": _NEIGHBOURS, "cosine": pa.float32(), "family": pa.string(),
        "split": pa.string(), "dataset": pa.string(), "rank": pa.float32(),
    }
)  # fmt: skip


@dataclass(frozen=True)
class Atlas:
    """What was written.

    Attributes:
        pairs: pictures, each with a caption; there are twice as many rows.
        unreadable: pictures whose file is gone or cannot be decoded; their rows have no picture.
    """

    path: Path
    pairs: int
    unreadable: int


def write_atlas(
    model: Path,
    out: Path,
    *,
    dataset: str | None = None,
    plane: Plane = "pca",
    most: int = 20_000,
    neighbours: int = 15,
    side: int = 160,
) -> Atlas:
    """Write the map of a data set in the space of an aligner.

    Args:
        model: folder of the aligner inside its project, such as data/models/default.
        dataset: of the project, stored through both views of the aligner; the first where None.
        plane: how `x` and `y` are made, see `on_plane`.
        most: pairs at most, evenly spaced.
        neighbours: rows that are named for each row, itself among them; 0 for none.
        side: largest side of a picture in pixels; 0 leaves pictures out.

    Raises:
        DataError: the aligner has no such data set, or it has fewer than three pairs; `out` is there already.
        ConfigError: PaCMAP is asked for and not installed.
        ModelError: the folder is no aligner of a project with stores.
    """
    if out.exists():
        raise DataError(f"{out} is there already; remove it first, or write elsewhere.")
    folder = model.expanduser().resolve()
    project = Project(folder.parents[2])
    explored = project[folder.name]
    name = dataset or next(iter(explored.datasets))
    collection = explored.collection(name)
    images, texts, of_images, of_texts = collection.pairs(most)
    if len(images) < 3:
        raise DataError(f"{name} has {len(images)} pictures with an English caption in stores of {folder.name}; a map "
                        "needs three.")  # fmt: skip
    vectors = np.concatenate([of_images, of_texts])
    about = samples_of(project.data, name)
    captions = collection.pictures.texts(texts)
    cosines = (of_images * of_texts).sum(1)
    columns: dict[str, Any] = {
        "id": [*images, *texts],
        "kind": ["picture"] * len(images) + ["text"] * len(texts),
        "text": captions * 2,
        "cosine": np.tile(cosines, 2),
        "family": [about.get(one, {}).get("family") or "" for one in images] * 2,
        "split": [about.get(one, {}).get("split_0") or "" for one in images] * 2,
        "dataset": [name] * (2 * len(images)),
        "rank": np.ones(2 * len(images), np.float32),
    }
    flat = on_plane(vectors, plane)
    columns |= {"x": flat[:, 0], "y": flat[:, 1]}
    columns["neighbors"] = nearest(vectors, neighbours) if neighbours else [None] * len(vectors)
    return Atlas(out, len(images), _write(columns, collection, images, side, out))


def nearest(vectors: np.ndarray, count: int) -> list[dict[str, np.ndarray]]:
    """Row numbers of the `count` rows of largest cosine to each of the unit vectors (n, K), and 1 - cosine.

    The row itself comes first, of equal ones the earlier.
    """
    count = min(count, len(vectors))
    found = []
    for start in range(0, len(vectors), _BLOCK):
        cosines = vectors[start : start + _BLOCK] @ vectors.T
        own = np.arange(start, start + len(cosines))
        cosines[np.arange(len(own)), own] = np.inf
        order = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
        cosines[np.arange(len(own)), own] = 1
        distances = np.maximum(1 - np.take_along_axis(cosines, order, axis=1), 0).astype(np.float32)
        found += [{"ids": ids, "distances": far} for ids, far in zip(order, distances, strict=True)]
    return found


def _write(columns: dict[str, Any], collection: Collection, images: list[str], side: int, out: Path) -> int:
    """Write the table in groups of rows, whole or not at all; returns how many pictures could not be read."""
    out.parent.mkdir(parents=True, exist_ok=True)
    unreadable, total = 0, len(columns["id"])
    handle, partial = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name}-")
    os.close(handle)
    try:
        with pq.ParquetWriter(partial, SCHEMA) as writer:
            for start in range(0, total, _GROUP):
                rows = slice(start, start + _GROUP)
                pictures = list(_pictures(collection, images[rows], side))  # those of captions are beyond their end
                unreadable += sum(picture is None for picture in pictures) if side else 0
                part = {name: values[rows] for name, values in columns.items()}
                part["image"] = pictures + [None] * (len(part["id"]) - len(pictures))
                writer.write_table(pa.table({name: part[name] for name in SCHEMA.names}, schema=SCHEMA))
        Path(partial).chmod(0o644)
        os.replace(partial, out)
    finally:
        Path(partial).unlink(missing_ok=True)
    return unreadable


def _pictures(collection: Collection, ids: list[str], side: int) -> Iterator[dict[str, Any] | None]:
    for identifier in ids:
        if not side:
            yield None
            continue
        try:
            picture = collection.pictures.load(identifier)
        except DataError:
            yield None
            continue
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)
        written = io.BytesIO()
        picture.save(written, "JPEG", quality=85)
        yield {"bytes": written.getvalue(), "path": None}
