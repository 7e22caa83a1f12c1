"""A map of a shared space: pictures and captions on a plane, and how far the two of a pair are.

The plane is that of most variance, or PaCMAP's, which keeps more of who is near whom (Wang et al., JMLR 2021).
"""

import logging
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pyarrow.parquet as pq

from pipeline.errors import ConfigError
from pipeline.explorer.collection import Collection

MOST = 3000  # pairs on one map
Plane = Literal["pca", "pacmap"]
PLANES: tuple[Plane, ...] = get_args(Plane)
INSTALL = "pip install pacmap"
_NEIGHBOURS = 10  # PaCMAP's own default


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


def require_plane(plane: str) -> None:
    """Check that maps of a kind can be made here.

    Raises:
        ConfigError: PaCMAP is not installed.
    """
    if plane == "pacmap":
        _pacmap()


def on_plane(vectors: np.ndarray, plane: Plane = "pca") -> np.ndarray:
    """Coordinates (n, 2) of vectors (n, K), scaled to lie within -1 and 1; the same vectors give the same map.

    Raises:
        ConfigError: PaCMAP is not installed.
    """
    if plane == "pca":
        return principal_plane(vectors)
    fewer = min(_NEIGHBOURS, max(2, len(vectors) // 4))
    mapper = _pacmap()(n_components=2, n_neighbors=fewer, random_state=0, verbose=False)
    flat = np.asarray(mapper.fit_transform(np.ascontiguousarray(vectors, np.float32), init="pca"), np.float64)
    flat -= flat.mean(0)
    return np.asarray(flat / max(np.abs(flat).max(), 1e-12))


def _pacmap() -> Any:
    try:
        from pacmap import PaCMAP
    except ImportError as error:
        raise ConfigError(f"A map by PaCMAP needs a package that cannot be imported ({error}): {INSTALL}") from error
    logging.getLogger("pacmap").setLevel(logging.ERROR)  # it warns that the seed is set
    return PaCMAP


def flat_map(collection: Collection, data: Path, most: int = MOST, plane: Plane = "pca") -> dict[str, Any]:
    """Points of a collection: plane coordinates of both sides, cosine of the pair, family, split, and who kept it.

    Args:
        data: the folder data of the project, with splits and curations of the first repeat.
        most: pairs at most, evenly spaced.
        plane: as for `on_plane`, with its error.
    """
    images, texts, of_images, of_texts = collection.pairs(most)
    if len(images) < 3:
        return {"points": [], "curations": [], "plane": plane}
    flat = on_plane(np.concatenate([of_images, of_texts]), plane)
    cosines = (of_images * of_texts).sum(1)
    about = samples_of(data, collection.name)
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
    return {"points": points, "curations": list(kept), "plane": plane}


def samples_of(data: Path, dataset: str) -> dict[str, dict[str, Any]]:
    """Family and split of repeat 0 of each picture, by id; none before the stage `splits`."""
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
