"""Rows of an index out of vectors that were imported, found by the hash of their content or by their names."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from pipeline.config import AnyView, ImageView
from pipeline.encoders.imported import IMPORTED, open_imported
from pipeline.encoders.manifest import manifest_for
from pipeline.encoding.protocol import Batch
from pipeline.features import ArraySpec

NOT_FINITE = "the imported vector has NaN or infinite values"
HASHED = ("files", "texts")
_BATCH = 4096
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
        self._vectors, names = open_imported(checkpoint)
        kind = (names.schema.metadata or {}).get(b"kind", b"").decode()
        listed: list[str] = names.column("name").to_pylist()
        width = self._vectors.shape[1]
        image = isinstance(view, ImageView)
        self._spec = ArraySpec("cls", (1, width), view.dtype) if image else ArraySpec("pooled", (width,), view.dtype)
        self.specs: tuple[ArraySpec, ...] = (self._spec,)
        self.notes: dict[str, object] = {IMPORTED: True}
        self._missing = f"no imported vector has this {view.modality}'s {'content' if kind in HASHED else 'name'}"
        if kind in HASHED:
            self._row = {name: row for row, name in enumerate(listed)}
        else:
            by_name = _joined(listed, keys.values())
            self._row = {identifier: by_name[key] for identifier, key in keys.items() if key in by_name}

    def encode(self, ids: Sequence[str]) -> Iterator[Batch]:
        """See `RowEncoder`. An id without a vector is a row with a reason."""
        for start in range(0, len(ids), _BATCH):
            rows = np.array([self._row.get(identifier, -1) for identifier in ids[start : start + _BATCH]], np.int64)
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


def _joined(names: Sequence[str], keys: Iterable[str]) -> dict[str, int]:
    """The row of each key that some name equals."""
    keys = list(keys)
    for level in _LEVELS:
        rows = _distinct(names, level)
        wanted = _distinct(keys, level)
        if rows is not None and wanted is not None and rows.keys() & wanted.keys():
            return {keys[place]: rows[name] for name, place in wanted.items() if name in rows}
    return {}


def _distinct(names: Sequence[str], level: _Level) -> dict[str, int] | None:
    """Where each shortened name stands; None if two names become one."""
    shortened = [level(name) for name in names]
    places = {name: place for place, name in enumerate(shortened)}
    return places if len(places) == len(shortened) else None
