"""Rows of an index out of vectors that were imported, found by the hash of their content or by their names."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from pipeline.config import AnyView, ImageView
from pipeline.encoders.imported import IMPORTED, open_imported
from pipeline.encoders.manifest import manifest_for
from pipeline.encoding.protocol import Batch
from pipeline.encoding.texts import columns_of
from pipeline.features import ArraySpec
from pipeline.ids import Ids
from pipeline.row_map import RowMap

NOT_FINITE = "the imported vector has NaN or infinite values"
HASHED = ("files", "texts")
_BATCH = 4096
_PIECE = 1 << 16  # names shortened at a time
_Level = Callable[[str], str]
_LEVELS: tuple[_Level, ...] = (str, lambda key: PurePosixPath(key).name, lambda key: PurePosixPath(key).stem)


class ImportedRows:
    """Serves imported vectors by the ids of an index.

    Args:
        checkpoint: of the encoder.
        view: tier cls or pooled.
        keys: of images, the name that their source gives them, by id. Names of vectors are compared with these where
            they are no hashes: as they stand, else without folders, else without the ending too, in the first of
            these ways that tells all of them apart.

    Raises:
        CheckpointError: the checkpoint is unfinished or damaged.
    """

    def __init__(self, checkpoint: Path, view: AnyView, keys: Mapping[str, str]) -> None:
        manifest_for(checkpoint, IMPORTED, view.modality)
        self._vectors, listed, kind = open_imported(checkpoint)
        width = self._vectors.shape[1]
        image = isinstance(view, ImageView)
        self._spec = ArraySpec("cls", (1, width), view.dtype) if image else ArraySpec("pooled", (width,), view.dtype)
        self.specs: tuple[ArraySpec, ...] = (self._spec,)
        self.notes: dict[str, object] = {IMPORTED: True}
        self._missing = f"no imported vector has this {view.modality}'s {'content' if kind in HASHED else 'name'}"
        self._vector: np.ndarray | None = None  # of each key, where the names are no hashes
        if kind not in HASHED:
            named, written = columns_of(keys)
            self._vector, listed = _joined(listed, written), named
        self._rows = RowMap(listed)

    def encode(self, ids: Sequence[str]) -> Iterator[Batch]:
        """See `RowEncoder`. An id without a vector is a row with a reason."""
        for start in range(0, len(ids), _BATCH):
            rows = self._rows.find(ids[start : start + _BATCH])
            if self._vector is not None and len(self._vector):
                rows = np.where(rows >= 0, self._vector[rows], -1)
            found = np.flatnonzero(rows >= 0)
            values = np.zeros((len(rows), self._vectors.shape[1]), np.float32)
            values[found] = self._vectors[rows[found]]
            finite = np.asarray(np.isfinite(values).all(axis=1))
            reasons = [
                self._missing if row < 0 else None if good else NOT_FINITE
                for row, good in zip(rows.tolist(), finite.tolist(), strict=True)
            ]
            positions = list(range(start, start + len(rows)))
            yield Batch(positions, {self._spec.name: values.reshape(-1, *self._spec.row_shape)}, list(reasons))


def _joined(names: Ids, keys: Ids) -> np.ndarray:
    """Where the name that each key equals stands, (n,) int32 or int64; -1 where none does."""
    for level in _LEVELS:
        shortened, wanted = _shortened(names, level), _shortened(keys, level)
        if not RowMap(wanted).distinct() or not (listed := RowMap(shortened)).distinct():
            continue
        rows = listed.find(wanted)
        if (rows >= 0).any():
            return rows.astype(np.int32) if len(names) < 2**31 else rows
    return np.full(len(keys), -1, np.int64)


def _shortened(names: Ids, level: _Level) -> Ids:
    pieces = (names[start : start + _PIECE] for start in range(0, len(names), _PIECE))
    return names if level is str else Ids.joined([level(name) for name in piece] for piece in pieces)
