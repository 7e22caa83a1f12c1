"""A map of a shared space: pictures and captions on the plane of most variance, and how far the two of a pair are."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from pipeline.explorer.collection import Collection

MOST = 3000  # pairs on one map


def principal_plane(vectors: np.ndarray) -> np.ndarray:
    """Coordinates (n, 2) on the first two principal components of vectors (n, K), scaled to lie within -1 and 1.

    The sign of each axis is chosen so that its largest loading is positive: the same vectors give the same map.
    """
    centred = vectors.astype(np.float64) - vectors.mean(0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    plane = axes[:, [-1, -2]]
    plane = plane * np.sign(plane[np.abs(plane).argmax(0), [0, 1]])
    flat = centred @ plane
    return np.asarray(flat / max(np.abs(flat).max(), 1e-12))


def flat_map(collection: Collection, data: Path, most: int = MOST) -> dict[str, Any]:
    """Points of a collection: plane coordinates of both sides, cosine of the pair, family, split, and who kept it.

    Args:
        data: the folder data of the project, with splits and curations of the first repeat.
        most: pairs at most, evenly spaced.
    """
    images, texts, of_images, of_texts = collection.pairs(most)
    if len(images) < 3:
        return {"points": [], "curations": []}
    flat = principal_plane(np.concatenate([of_images, of_texts]))
    cosines = (of_images * of_texts).sum(1)
    about = _samples(data, collection.name)
    kept = _curations(data, collection.name)
    points = [
        {
            "id": identifier,
            "image": flat[row].round(4).tolist(),
            "text": flat[row + len(images)].round(4).tolist(),
            "caption": caption,
            "cosine": round(float(cosines[row]), 4),
            "family": about.get(identifier, {}).get("family") or "",
            "split": about.get(identifier, {}).get("split_0") or "",
            "kept": [name for name, ids in kept.items() if identifier in ids],
        }
        for row, (identifier, caption) in enumerate(zip(images, collection.pictures.texts(texts), strict=True))
    ]
    return {"points": points, "curations": list(kept)}


def _samples(data: Path, dataset: str) -> dict[str, dict[str, Any]]:
    path = data / "splits" / "samples.parquet"
    if not path.is_file():
        return {}
    table = pq.read_table(path, columns=["image_id", "family", "split_0"], filters=[("dataset", "=", dataset)])
    return {row["image_id"]: row for row in table.to_pylist()}


def _curations(data: Path, dataset: str) -> dict[str, set[str]]:
    found = {}
    for path in sorted(data.glob("curation/*/selected.parquet")):
        chosen = [("dataset", "=", dataset), ("repeat", "=", 0)]
        found[path.parent.name] = set(pq.read_table(path, columns=["image_id"], filters=chosen)["image_id"].to_pylist())
    return found
