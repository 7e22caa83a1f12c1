"""Vectors that another program made, as rows of .npy files beside Parquet tables: an encoder that runs nowhere.

Read is what clip-retrieval and scripts around open_clip write: `img_emb/img_emb_<n>.npy` or `text_emb/text_emb_<n>.npy`
with `metadata/metadata_<n>.parquet`, or a single .npy with a .parquet of the same name. With `source: imported` they
are the features of an encoder of params.yaml; its checkpoint holds the vectors and the name of each row.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config import EncoderSpec
from pipeline.config.further import FURTHER
from pipeline.datasets.tables import image_id, text_id
from pipeline.encoders.manifest import Description
from pipeline.errors import CheckpointError, DataError
from pipeline.ids import Ids
from pipeline.parquet import parquet_pieces
from pipeline.vector_files import read_vectors

Modality = Literal["image", "text"]
IMPORTED = "imported"  # the source and the loader
VECTORS_FILE, NAMES_FILE = "vectors.npy", "names.parquet"
_KINDS: dict[Modality, str] = {"image": "img", "text": "text"}
_KEYS = ("key",)  # what img2dataset and webdataset call a sample
_PATHS, _CAPTIONS = ("image_path", "path", "filepath", "file"), ("caption", "text")
_BLOCK = 65536  # rows that are copied at a time
_ROW_GROUP = 1 << 20  # names that are compressed together


@dataclass(frozen=True)
class Vectors:
    """Rows of one or more arrays and the name of each.

    Attributes:
        arrays: (n, width) each, mapped.
        names: by row, over all arrays; an iterator, as pictures are read for it.
        kind: what the names are: hashes of "files" or "texts", values of a "column <name>", or "rows" by number.
        files: the arrays' files.
    """

    arrays: list[np.ndarray]
    names: Iterator[str]
    kind: str
    files: list[Path]

    @property
    def width(self) -> int:
        """Numbers of a vector."""
        return int(self.arrays[0].shape[1])

    def __len__(self) -> int:
        return sum(map(len, self.arrays))


def read_imported(source: Path, modality: Modality, id_column: str | None = None) -> Vectors:
    """Arrays and names below a folder of clip-retrieval, or of a .npy file (rows, width) of floating-point numbers.

    Rows get the ids that this project gives the same pictures and texts, hashes of their content, where the table names
    files that are there or has captions. Else `id_column` names them, or the keys or paths of the table, or numbers.

    Raises:
        DataError: a file is missing, damaged or of another shape than the others.
    """
    files, tables = _parts(source, modality)
    arrays = _arrays(files)
    names, kind = _names(tables, [len(array) for array in arrays], modality, id_column)
    return Vectors(arrays, names, kind, files)


def write_imported(spec: EncoderSpec, folder: Path) -> None:
    """Write the checkpoint of an imported encoder: its vectors, the first of each name, and the names.

    Raises:
        CheckpointError: nothing that could be read is at `spec.model`, or its rows have no names.
    """
    assert spec.modality not in FURTHER, "an entry of `encoders` cannot say so"
    try:
        found = read_imported(Path(spec.model), "text" if spec.modality == "text" else "image")
        named = Ids.joined(_pieces(found.names))
    except DataError as error:
        raise CheckpointError(f"encoders.{folder.name}: {error}") from error
    if found.kind == "rows":
        wanted = f"{', '.join(_PATHS)} or {', '.join(_KEYS)}" if spec.modality == "image" else " or ".join(_CAPTIONS)
        raise CheckpointError(
            f"encoders.{folder.name}: nothing says what the rows of {spec.model} are. Put a Parquet table beside them "
            f"(metadata/metadata_<n>.parquet, or of the name of the .npy) with a column {wanted}."
        )
    kept, dtype = named.firsts(), np.result_type(*found.arrays)
    out = np.lib.format.open_memmap(folder / VECTORS_FILE, "w+", dtype, (len(kept), found.width))
    starts = np.cumsum([0, *map(len, found.arrays)])
    for start in range(0, len(kept), _BLOCK):
        rows = kept[start : start + _BLOCK]
        parts = np.searchsorted(starts, rows, side="right") - 1
        for part in np.unique(parts):
            out[start + np.flatnonzero(parts == part)] = found.arrays[part][rows[parts == part] - starts[part]]
    out.flush()
    _write_names(named.take(kept), found.kind, folder / NAMES_FILE)


def _write_names(names: Ids, kind: str, path: Path) -> None:
    schema = pa.schema([("name", pa.string())], {"kind": kind})
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, len(names), _ROW_GROUP):
            strings = names[start : start + _ROW_GROUP].strings().cast(pa.string())
            writer.write_table(pa.table([strings], schema=schema), row_group_size=_ROW_GROUP)


def describe_imported(folder: Path) -> Description:
    """Describe such a checkpoint; nothing is known of what made the vectors."""
    vectors, _, kind = open_imported(folder)
    return Description(IMPORTED, vectors.shape[1], None, None, None, {"names": kind})


def open_imported(folder: Path) -> tuple[np.ndarray, Ids, str]:
    """Vectors (n, width), mapped, their names, and what the names are.

    Raises:
        CheckpointError: one is missing or damaged.
    """
    try:
        path = folder / NAMES_FILE
        kind = (pq.read_schema(path).metadata or {}).get(b"kind", b"").decode()
        pieces = parquet_pieces(path, ["name"], _BLOCK)
        return read_vectors(folder / VECTORS_FILE), Ids.joined(piece.column("name") for piece in pieces), kind
    except (DataError, pa.ArrowException, OSError) as error:
        raise CheckpointError(f"{folder} holds no imported vectors: {error}") from error


def refuse_imported(spec: EncoderSpec, where: str) -> None:
    """Check that an encoder can run.

    Raises:
        CheckpointError: only its vectors were imported.
    """
    if spec.loader == IMPORTED:
        raise CheckpointError(
            f"{where} has vectors that were imported from {spec.model}; the encoder that made them is not here, so "
            f"nothing else can be encoded with it. Stored features go on to be searched and evaluated; for new "
            f"{spec.modality}s, import their vectors, or name the encoder itself under `encoders`."
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
    """The name of each row, and what the names are."""
    missing = [table for table in tables if not table.is_file()]
    if missing:
        if id_column or len(missing) < len(tables):
            raise DataError(f"No table at {missing[0]}.")
        return (str(row) for row in range(sum(counts))), "rows"
    written, *_ = [_columns(table, count) for table, count in zip(tables, counts, strict=True)]
    columns = set(written)
    if id_column is not None:
        if id_column not in columns:
            raise DataError(f"{tables[0]} has no column {id_column!r}; it has {', '.join(written)}.")
        return map(str, _values(tables, id_column)), f"column {id_column}"
    if modality == "text":
        known = _first(_CAPTIONS, columns)
        if known:
            return (text_id(str(text or "")) for text in _values(tables, known)), "texts"
        return (str(row) for row in range(sum(counts))), "rows"
    known = _first(_PATHS, columns)
    if known:
        first = next(_values(tables, known), None)
        if first and Path(first).is_file():
            return (_file_id(path) for path in _values(tables, known)), "files"
    known = _first(_KEYS, columns) or known
    if known:
        return map(str, _values(tables, known)), f"column {known}"
    return (str(row) for row in range(sum(counts))), "rows"


def _first(names: Iterable[str], columns: set[str]) -> str | None:
    return next((name for name in names if name in columns), None)


def _columns(path: Path, count: int) -> list[str]:
    """The columns of a table, which has so many rows."""
    with _readable(path), pq.ParquetFile(path) as file:
        rows, columns = file.metadata.num_rows, list(file.schema_arrow.names)
    if rows != count:
        raise DataError(f"{path} has {rows} rows, the array beside it {count}.")
    return columns


def _values(tables: Sequence[Path], column: str) -> Iterator[Any]:
    """The values of a column of all tables in turn, a piece of them held at a time."""
    for path in tables:
        with _readable(path):
            for piece in parquet_pieces(path, [column], _BLOCK):
                yield from piece.column(column).to_pylist()


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read as Parquet: {error}") from error


def _pieces(names: Iterator[str]) -> Iterator[list[str]]:
    while piece := list(islice(names, _BLOCK)):
        yield piece


def _file_id(path: str) -> str:
    try:
        return image_id(Path(path).read_bytes())
    except (OSError, TypeError) as error:
        raise DataError(f"{path} cannot be read ({error}), though other pictures of the table can.") from error
