"""Features that somebody has already, as rows of .npy files beside Parquet tables, become a feature store.

`pipeline.encoders.imported` says what is read, and makes an encoder of a project of the same files, whose features can
be trained on. Here they become a store of their own, to be searched. Its fingerprint says "imported" and the model's
name as it was given; nothing can check that name, so no store of this project's own encoders ever counts as the same.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from pipeline.encoders.imported import IMPORTED, Modality, read_imported
from pipeline.encoding.imported import NOT_FINITE
from pipeline.encoding.plan import Plan
from pipeline.encoding.protocol import Batch
from pipeline.encoding.run import StoreEncoder
from pipeline.errors import DataError, StoreError
from pipeline.features import ArraySpec
from pipeline.features.fingerprint import ENCODING_VERSION, FORMAT_VERSION, Fingerprint
from pipeline.work_folder import work_folder

SHARD_ROWS = 4096
_BATCH = 4096


@dataclass(frozen=True)
class Imported:
    """What was imported.

    Attributes:
        ids: what the ids of the store are: hashes of `files` or `texts`, values of a `column`, or `rows` by number.
        repeated: rows that were left out because their id came before.
        failed: rows without finite values.
    """

    store: Path
    rows: int
    width: int
    ids: str
    repeated: int
    failed: int


def import_npy(
    source: Path,
    out: Path,
    *,
    model: str,
    modality: Modality = "image",
    id_column: str | None = None,
    dtype: Literal["float16", "float32"] = "float16",
) -> Imported:
    """Write a feature store at `out` from arrays and tables.

    Rows get the ids that this project gives the same pictures and texts, hashes of their content, where the table names
    files that are there or has captions; then they join with an index. Else `id_column` names them, or their number.

    Args:
        source: a folder of clip-retrieval, or a .npy file (rows, width) of floating-point numbers.
        model: what encoded them, for the fingerprint: stores of the same name count as features of the same model.
        id_column: of the tables, to be taken as ids as it stands.

    Raises:
        DataError: a file is missing, damaged or of another shape than the others.
        StoreError: `out` is there already, a value does not fit into `dtype`, or the disk is full.
    """
    if not model.strip():
        raise DataError("Say which model encoded the features, such as 'ViT-B-32/openai'.")
    if out.exists():
        raise StoreError(f"{out} is there already; remove it first, or write elsewhere.")
    found = read_imported(source, modality, id_column)
    arrays, files, count, width = found.arrays, found.files, len(found), found.width
    first: dict[str, int] = {}
    for row, name in enumerate(found.names):
        first.setdefault(name, row)
    fingerprint = Fingerprint(
        {"format_version": FORMAT_VERSION, "encoding_version": ENCODING_VERSION, IMPORTED: model.strip(),
         "modality": modality, "width": width, "stored_dtype": dtype},
        {"model": f"{IMPORTED}: {model.strip()}", "source": IMPORTED, "files": [str(file) for file in files]},
    )  # fmt: skip
    spec = ArraySpec("cls", (1, width), dtype) if modality == "image" else ArraySpec("pooled", (width,), dtype)
    rows = _Rows(arrays, first, spec)
    work_folder().mkdir(parents=True, exist_ok=True)
    # apart from the scratch of encoders, where rows are known by fingerprint and id: here neither says what a value is
    with tempfile.TemporaryDirectory(prefix="import-", dir=work_folder()) as scratch:
        job = StoreEncoder(out.name, fingerprint, lambda: rows, 1.0, scratch=Path(scratch))
        done = job.run(Plan(tuple(first), SHARD_ROWS), out)
    return Imported(out, len(first), width, found.kind, count - len(first), done.failed)


class _Rows:
    """Serves rows of arrays by id."""

    def __init__(self, arrays: Sequence[np.ndarray], first: dict[str, int], spec: ArraySpec) -> None:
        self.specs: tuple[ArraySpec, ...] = (spec,)
        self.notes: dict[str, object] = {IMPORTED: True}
        self._arrays, self._first = arrays, first
        self._starts = np.cumsum([0, *map(len, arrays)])

    def encode(self, ids: Sequence[str]) -> Iterator[Batch]:
        """See `RowEncoder`."""
        (spec,) = self.specs
        for start in range(0, len(ids), _BATCH):
            rows = np.array([self._first[name] for name in ids[start : start + _BATCH]])
            values = np.empty((len(rows), self._arrays[0].shape[1]), dtype=np.float32)
            parts = np.searchsorted(self._starts, rows, side="right") - 1
            for part in np.unique(parts):
                values[parts == part] = self._arrays[part][rows[parts == part] - self._starts[part]]
            finite = np.asarray(np.isfinite(values).all(axis=1))
            reasons = [None if good else NOT_FINITE for good in finite]
            yield Batch(
                list(range(start, start + len(rows))), {spec.name: values.reshape(-1, *spec.row_shape)}, list(reasons)
            )
