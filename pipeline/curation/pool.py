"""The images that a curation may choose from: the train split of one repeat, and nothing else."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.datasets.caption_pairs import read_samples
from pipeline.features.views import open_view

LABELS = ("concept", "category")


@dataclass(frozen=True)
class Pool:
    """Train images of one repeat.

    Attributes:
        dataset, image_id: (N,) str.
        labels: per label name (N,) str or None.
    """

    dataset: np.ndarray
    image_id: np.ndarray
    labels: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.image_id)

    def take(self, rows: np.ndarray) -> "Pool":
        """The given rows."""
        return Pool(self.dataset[rows], self.image_id[rows], {k: v[rows] for k, v in self.labels.items()})


def read_pools(datasets: Sequence[str], repeats: int) -> list[Pool]:
    """The train images of `datasets`, one pool per repeat, in the order of data/splits.

    Raises:
        DataError: as `read_samples`.
    """
    names = ("dataset", "image_id", *LABELS)
    rows = [row for row in read_samples(names, repeats) if row[0] in datasets]
    columns = np.array(rows, dtype=object).reshape(len(rows), len(names) + repeats).T
    images = Pool(columns[0], columns[1], dict(zip(LABELS, columns[2:], strict=False)))
    return [images.take(np.flatnonzero(splits == "train")) for splits in columns[len(names) :]]


def read_features(view: str, pool: Pool) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors of the pool's images in a view, and the rows that have one.

    Returns:
        features: (n, D) float32, the CLS token (or pooled output) of the last kept layer.
        rows: (n,) int64, positions in the pool; images that could not be encoded are left out.

    Raises:
        StoreError: a store is missing, damaged or lacks an id.
        FingerprintMismatch: as `open_view`.
    """
    parts, kept = [], []
    for dataset, store in open_view(view, dict.fromkeys(pool.dataset.tolist())).items():
        rows = np.flatnonzero(pool.dataset == dataset)
        rows = rows[store.servable(pool.image_id[rows])]
        features = store.read("cls", pool.image_id[rows]).astype(np.float32)
        parts.append(features if features.ndim == 2 else features[:, -1])
        kept.append(rows)
    if not parts:
        return np.empty((0, 0), dtype=np.float32), np.empty(0, dtype=np.int64)
    order = np.concatenate(kept)
    stacked = np.concatenate(parts)
    unit = stacked / np.maximum(np.linalg.norm(stacked, axis=1, keepdims=True), 1e-12)
    by_position = np.argsort(order, kind="stable")
    return unit[by_position], order[by_position]


def hash_order(ids: np.ndarray, seed: int) -> np.ndarray:
    """Positions (n,) int64 in the order of a hash of id and seed, as good as random: a new id does not move others."""
    keys = [hashlib.sha256(f"{seed}:{identifier}".encode()).digest() for identifier in ids]
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)
