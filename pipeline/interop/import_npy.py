"""Features that somebody has already, as rows of .npy files beside Parquet tables, become a feature store.

Read is what clip-retrieval and scripts around open_clip write: `img_emb/img_emb_<n>.npy` or `text_emb/text_emb_<n>.npy`
with `metadata/metadata_<n>.parquet`, or a single .npy with a .parquet of the same name. The fingerprint of the store
says "imported" and the model's name as it was given; nothing can check that name, so no store of this project's own
encoders ever counts as the same.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from pipeline.datasets.tables import image_id, text_id
from pipeline.encoding.plan import Plan
from pipeline.encoding.protocol import Batch
from pipeline.encoding.run import StoreEncoder
from pipeline.errors import DataError, StoreError
from pipeline.features import ArraySpec
from pipeline.features.fingerprint import ENCODING_VERSION, FORMAT_VERSION, Fingerprint
from pipeline.parquet import read_parquet
from pipeline.work_folder import work_folder

Modality = Literal["image", "text"]
IMPORTED = "imported"
SHARD_ROWS = 4096
NOT_FINITE = "the imported vector has NaN or infinite values"
_BATCH = 4096
_KINDS: dict[Modality, str] = {"image": "img", "text": "text"}
_PATHS, _CAPTIONS = ("image_path", "path", "filepath", "file"), ("caption", "text")


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
    files, tables = _parts(source, modality)
    arrays = _arrays(files)
    count, width = sum(map(len, arrays)), arrays[0].shape[1]
    names, kind = _names(tables, [len(array) for array in arrays], modality, id_column)
    first: dict[str, int] = {}
    for row, name in enumerate(names):
        first.setdefault(name, row)
    fingerprint = Fingerprint(
        {"format_version": FORMAT_VERSION, "encoding_version": ENCODING_VERSION, IMPORTED: model.strip(),
         "modality": modality, "width": width, "stored_dtype": dtype},
        {"model": f"{IMPORTED}: {model.strip()}", "source": IMPORTED, "files": [str(file) for file in files]},
    )  # fmt: skip
    spec = ArraySpec("cls", (1, width), dtype) if modality == "image" else ArraySpec("pooled", (width,), dtype)
    rows = _Rows(arrays, first, spec)
    job = StoreEncoder(out.name, fingerprint, lambda: rows, 1.0)
    work_folder().mkdir(parents=True, exist_ok=True)
    # apart from the scratch of encoders, where rows are known by fingerprint and id: here neither says what a value is
    with tempfile.TemporaryDirectory(prefix="import-", dir=work_folder()) as scratch:
        job.scratch = Path(scratch)
        done = job.run(Plan(tuple(first), SHARD_ROWS), out)
    return Imported(out, len(first), width, kind, count - len(first), done.failed)


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


def _parts(source: Path, modality: Modality) -> tuple[list[Path], list[Path]]:
    """Arrays, and the table beside each."""
    source = source.expanduser()
    if source.suffix == ".npy":
        return [source], [source.with_suffix(".parquet")]
    kind = _KINDS[modality]
    files = sorted((source / f"{kind}_emb").glob(f"{kind}_emb_*.npy"), key=lambda file: (len(file.name), file.name))
    if not files:
        raise DataError(f"{source} has no {kind}_emb/{kind}_emb_*.npy, and is no .npy file.")
    return files, [source / "metadata" / f"metadata_{file.stem.rpartition('_')[2]}.parquet" for file in files]


def _arrays(files: Sequence[Path]) -> list[np.ndarray]:
    from pipeline.inference.vectors import read_vectors

    arrays = [read_vectors(file) for file in files]
    for file, array in zip(files, arrays, strict=True):
        if array.shape[1] != arrays[0].shape[1] or not array.shape[1]:
            raise DataError(f"{file} is {array.shape[1]} wide, {files[0]} {arrays[0].shape[1]}.")
    if not sum(map(len, arrays)):
        raise DataError(f"{files[0]} has no rows.")
    return arrays


def _names(
    tables: Sequence[Path], counts: Sequence[int], modality: Modality, id_column: str | None
) -> tuple[Iterator[str], str]:
    """The id of each row, and what the ids are."""
    missing = [table for table in tables if not table.is_file()]
    if missing:
        if id_column or len(missing) < len(tables):
            raise DataError(f"No table at {missing[0]}.")
        return (str(row) for row in range(sum(counts))), "rows"
    read = [_table(table, count) for table, count in zip(tables, counts, strict=True)]
    columns = set(read[0].column_names)
    if id_column is not None:
        if id_column not in columns:
            raise DataError(f"{tables[0]} has no column {id_column!r}; it has {', '.join(read[0].column_names)}.")
        return map(str, _values(read, id_column)), f"column {id_column}"
    known = next((name for name in (_PATHS if modality == "image" else _CAPTIONS) if name in columns), None)
    if known and modality == "text":
        return (text_id(str(text or "")) for text in _values(read, known)), "texts"
    if known:
        first = next(_values(read, known), None)
        if first and Path(first).is_file():
            return (_file_id(path) for path in _values(read, known)), "files"
        return map(str, _values(read, known)), f"column {known}"
    return (str(row) for row in range(sum(counts))), "rows"


def _table(path: Path, count: int) -> pa.Table:
    try:
        table = read_parquet(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read as Parquet: {error}") from error
    if len(table) != count:
        raise DataError(f"{path} has {len(table)} rows, the array beside it {count}.")
    return table


def _values(tables: Sequence[pa.Table], column: str) -> Iterator[Any]:
    return chain.from_iterable(table.column(column).to_pylist() for table in tables)


def _file_id(path: str) -> str:
    try:
        return image_id(Path(path).read_bytes())
    except (OSError, TypeError) as error:
        raise DataError(f"{path} cannot be read ({error}), though other pictures of the table can.") from error
