"""The images that a curation may choose from: the train split of one repeat, and nothing else."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.datasets.tables import read_table
from pipeline.errors import DataError
from pipeline.features import FeatureStore
from pipeline.paths import SPLITS, store_folder

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
        DataError: the table of samples is missing or lacks a repeat.
    """
    path = SPLITS / "samples.parquet"
    table = read_table(path)
    lacking = [f"split_{repeat}" for repeat in range(repeats) if f"split_{repeat}" not in table.column_names]
    if lacking:
        raise DataError(f"{path} lacks {', '.join(lacking)}. Draw the splits again with: dvc repro splits")
    columns = {name: np.array(table.column(name).to_pylist(), dtype=object) for name in table.column_names}
    known = np.isin(columns["dataset"].astype(str), list(datasets))
    return [_pool(columns, np.flatnonzero(known & (columns[f"split_{r}"] == "train"))) for r in range(repeats)]


def _pool(columns: dict[str, np.ndarray], rows: np.ndarray) -> Pool:
    return Pool(columns["dataset"][rows], columns["image_id"][rows], {label: columns[label][rows] for label in LABELS})


def read_features(view: str, pool: Pool) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors of the pool's images through a view, and the rows that have any.

    Returns:
        features: (n, D) float32, the CLS token (or pooled output) of the last kept layer.
        rows: (n,) int64, positions in the pool; images that could not be encoded are left out.

    Raises:
        StoreError: a store is missing, damaged or lacks an id.
    """
    parts, kept = [], []
    for dataset in dict.fromkeys(pool.dataset.tolist()):
        rows = np.flatnonzero(pool.dataset == dataset)
        store = FeatureStore.open(store_folder("pairs", view, dataset))
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
    """An order of ids drawn by hashing each with the seed: a new id moves no other. Returns positions (n,) int64."""
    keys = [hashlib.sha256(f"{seed}:{identifier}".encode()).digest() for identifier in ids]
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)
