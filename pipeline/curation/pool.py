"""The images that a curation may choose from: the train split of one repeat, and nothing else."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from pipeline.coded import Coded
from pipeline.datasets.hash_order import hash_order
from pipeline.datasets.sample_table import IMAGE, SampleTable
from pipeline.features.span import Rows
from pipeline.features.views import open_view

LABELS = ("concept", "category")


class Pool:
    """Train images of one repeat.

    Attributes:
        dataset, image_id: (N,).
        labels: per label name (N,), null where an image has none.
    """

    def __init__(
        self,
        dataset: Coded | Iterable[str],
        image_id: Coded | Iterable[str],
        labels: Mapping[str, Coded | Iterable[str | None]],
    ) -> None:
        self.dataset, self.image_id = Coded.of_list(dataset), Coded.of_list(image_id)
        self.labels = {name: Coded.of_list(values) for name, values in labels.items()}

    def __len__(self) -> int:
        return len(self.image_id)

    def take(self, rows: np.ndarray) -> "Pool":
        """The given rows."""
        return Pool(self.dataset[rows], self.image_id[rows], {k: v[rows] for k, v in self.labels.items()})

    def in_hash_order(self, rows: np.ndarray, seed: int) -> np.ndarray:
        """Some rows (n,) int64 in the order of a hash of id and seed: a new id does not move others."""
        return np.asarray(rows[hash_order(str(seed), self.image_id[rows].ids())])


def read_pools(datasets: Sequence[str], repeats: int, modality: str = IMAGE) -> list[Pool]:
    """The train images of `datasets`, or samples of another modality, one pool per repeat, in the order of data/splits.

    Raises:
        DataError: as `SampleTable.read`.
    """
    samples = SampleTable.read(LABELS, repeats, modality)
    inside = np.zeros(len(samples), dtype=bool)
    for dataset in datasets:
        inside |= samples.dataset == dataset
    ids = Coded(np.arange(len(samples), dtype=np.int32), samples.image_id)
    images = Pool(samples.dataset, ids, samples.columns)
    return [images.take(np.flatnonzero(inside & (samples.splits[:, repeat] == "train"))) for repeat in range(repeats)]


class UnitFeatures:
    """Unit vectors (n, D) float32 of images, read from their stores when asked for.

    Args:
        arrays: of each store, (N, D), or (N, L, D) of which the last layer counts.
        store: (n,) int16, whose array holds each image.
        row: (n,) int64, where.
    """

    def __init__(self, arrays: Sequence[Rows], store: np.ndarray, row: np.ndarray) -> None:
        self._arrays, self._store, self._row = arrays, store, row
        self.shape = (len(row), arrays[0].shape[-1] if arrays else 0)

    def __len__(self) -> int:
        return len(self._row)

    def __getitem__(self, places: slice | np.ndarray) -> np.ndarray:
        stores, rows = self._store[places], self._row[places]
        out = np.empty((len(rows), self.shape[1]), np.float32)
        for number in np.unique(stores):
            chosen = np.flatnonzero(stores == number)
            features = self._arrays[number].take(rows[chosen]).astype(np.float32)
            out[chosen] = features if features.ndim == 2 else features[:, -1]
        return np.asarray(out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12))


def read_features(view: str, pool: Pool) -> tuple[UnitFeatures, np.ndarray]:
    """Unit vectors of the pool's images in a view, and the rows that have one.

    Returns:
        features: (n, D) float32, the CLS token (or pooled output) of the last kept layer.
        rows: (n,) int64, positions in the pool; images that could not be encoded are left out.

    Raises:
        StoreError: a store is missing, damaged or lacks an id.
        FingerprintMismatch: as `open_view`.
    """
    present = pool.dataset.values.take(np.unique(pool.dataset.codes)).tolist()
    arrays: list[Rows] = []
    numbers, row = np.full(len(pool), -1, np.int16), np.empty(len(pool), np.int64)
    for number, (dataset, store) in enumerate(open_view(view, dict.fromkeys(present)).items()):
        rows = np.flatnonzero(pool.dataset == dataset)
        rows = rows[store.servable(pool.image_id[rows])]
        arrays.append(store.array("cls"))
        numbers[rows], row[rows] = number, store.rows(pool.image_id[rows])
    kept = np.flatnonzero(numbers >= 0)
    return UnitFeatures(arrays, numbers[kept], row[kept]), kept
