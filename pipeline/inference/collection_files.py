"""Vectors and their tables on disk, as clip-retrieval writes them, and captions that lie beside pictures."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.datasets.table_rows import columns_of, rows_of
from pipeline.errors import DataError
from pipeline.inference.vectors import DTYPES, VectorRows, quantised

KINDS = ("img", "text")
CAPTIONS = "captions.csv"
READ = ("image_path", "caption", "id", "key", "index", "index_row")  # whenever a collection is opened


def find_files(where: Path) -> tuple[list[Path], list[Path]] | None:
    """Files of vectors and the tables beside them; None where there are none."""
    if where.suffix == ".npy":
        return [where], [where.with_suffix(".parquet")]
    for kind in KINDS:
        files = sorted((where / f"{kind}_emb").glob(f"{kind}_emb_*.npy"), key=lambda file: (len(file.name), file.name))
        if files:
            return files, [where / "metadata" / f"metadata_{file.stem.rpartition('_')[2]}.parquet" for file in files]
    return None


def column_of(tables: Sequence[Path], rows: Sequence[int], wanted: Sequence[str] | None = None) -> pa.Table:
    """Columns of the tables beside files of vectors, one below the other.

    Args:
        rows: of each file.
        wanted: names of columns; where None, those of `READ`, of which `captions` is made and any may lack.

    Raises:
        DataError: a table is damaged or has another number of rows; a column of `wanted` is nowhere.
    """
    parts = [_columns(table, count, wanted or READ) for table, count in zip(tables, rows, strict=True)]
    if wanted is not None:
        there = sorted({name for table in tables if table.is_file() for name in _names(table)})
        for name in wanted:
            if name not in there:
                listed = ", ".join(there) or "no columns, as there is no table"
                raise DataError(f"Rows cannot be chosen by {name!r}: {tables[0]} has {listed}.")
    table = pa.concat_tables(parts, promote_options="permissive")
    if wanted is not None:
        return table
    captions = pa.chunked_array([_listed(chunk) for chunk in table.column("caption").chunks], pa.list_(pa.string()))
    empty = [name for name in READ[2:] if table.column(name).null_count == len(table)]
    return table.append_column("captions", captions).drop_columns(["caption", *empty])


def rows_table(paths: Iterable[str | None], captions: Iterable[Sequence[str]], **others: Any) -> pa.Table:
    """The table of a collection in memory."""
    return pa.table({
        "image_path": pa.array(list(paths), pa.string()),
        "captions": pa.array(list(map(list, captions)), pa.list_(pa.string())),
        **others,
    })  # fmt: skip


def write_collection(vectors: VectorRows, table: pa.Table, out: Path, dtype: str) -> list[Path]:
    """Write vectors and the table beside them; see `Collection.write`."""
    kind = "text" if table.column("image_path").null_count == len(table) else "img"
    file, beside = free_files(out, kind)
    with open_vectors(file, len(vectors), vectors.width, dtype) as written:
        for _, block in vectors.blocks():
            written.append(block)
    write_rows(table, beside)
    return [file, beside]


def free_files(out: Path, kind: str) -> tuple[Path, Path]:
    """Where vectors and their table will lie.

    Raises:
        DataError: there are some already.
    """
    file, beside = out / f"{kind}_emb" / f"{kind}_emb_0.npy", out / "metadata" / "metadata_0.parquet"
    if file.exists() or beside.exists():
        raise DataError(f"{out} holds vectors already; name another folder.")
    return file, beside


class open_vectors:
    """A .npy file of rows that is written block by block, and has its name when it is whole."""

    def __init__(self, file: Path, rows: int, width: int, dtype: str) -> None:
        if dtype not in DTYPES:
            raise DataError(f"Vectors are written as {', '.join(DTYPES)}, found {dtype!r}.")
        self._file, self._partial = file, file.with_name(file.name + ".partial")
        self._dtype = np.dtype(dtype)
        file.parent.mkdir(parents=True, exist_ok=True)
        self._stream = open(self._partial, "wb")  # noqa: SIM115 (closed on leaving)
        header = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False, "shape": (rows, width)}
        np.lib.format.write_array_header_1_0(self._stream, header)

    def append(self, block: np.ndarray) -> None:
        """The next rows."""
        written = quantised(block) if self._dtype == np.int8 and block.dtype != np.int8 else block.astype(self._dtype)
        self._stream.write(np.ascontiguousarray(written).data)

    def __enter__(self) -> "open_vectors":
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        self._stream.close()
        if kind is None:
            self._partial.replace(self._file)
        else:
            self._partial.unlink(missing_ok=True)


def write_rows(table: pa.Table, path: Path) -> None:
    """Write the table of a collection, of several captions of a row the first."""
    captions = table.column("captions").combine_chunks()
    long = pc.list_value_length(captions)
    first = pc.if_else(pc.greater(pc.fill_null(long, 0), 0), captions, pa.scalar([None], captions.type))
    first = pc.list_element(first, 0) if len(first) else pa.array([], pa.string())
    columns = {"image_path": table.column("image_path"), "caption": first}
    columns |= {name: table.column(name) for name in table.column_names if name not in ("image_path", "captions")}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    pq.write_table(pa.table(columns), partial)
    partial.replace(path)


def captions_beside(paths: Sequence[Path]) -> list[tuple[str, ...]]:
    """The captions of pictures: in a .txt beside each, or in captions.csv of a folder above it."""
    tables: dict[Path, dict[Path, list[str]]] = {}
    captions = []
    for path in paths:
        beside = path.with_suffix(".txt")
        if beside.is_file():
            captions.append(tuple(line for line in beside.read_text("utf-8", "replace").splitlines() if line.strip()))
            continue
        own = next((parent for parent in path.resolve().parents if (parent / CAPTIONS).is_file()), None)
        if own is not None and own not in tables:
            tables[own] = _table(own)
        captions.append(tuple(tables[own].get(path.resolve(), ())) if own is not None else ())
    return captions


def _table(folder: Path) -> dict[Path, list[str]]:
    """Captions by picture; none where the table is not of the columns file and caption."""
    table = folder / CAPTIONS
    if not {"file", "caption"} <= set(columns_of(table) or ()):
        return {}
    captions: dict[Path, list[str]] = {}
    for row in rows_of(table, ("file", "caption")):
        if row.reason is None and row.values.get("file") and row.values.get("caption"):
            captions.setdefault((folder / row.values["file"]).resolve(), []).append(str(row.values["caption"]))
    return captions


def _columns(table: Path, rows: int, names: Sequence[str]) -> pa.Table:
    """Some columns of a table; nulls where it lacks one, or is not there."""
    if not table.is_file():
        return pa.table({name: pa.nulls(rows, pa.string()) for name in names})
    try:
        with pq.ParquetFile(table) as file:
            read = file.read([name for name in names if name in file.schema_arrow.names])
            count = file.metadata.num_rows
        read.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{table} cannot be read as Parquet: {error}") from error
    if count != rows:
        raise DataError(f"{table} has {count} rows, the vectors beside it {rows}.")
    columns = {name: read.column(name) if name in read.column_names else pa.nulls(rows, pa.string()) for name in names}
    for name in set(READ[:4]) & set(columns):
        try:
            columns[name] = columns[name].cast(pa.string())
        except pa.ArrowException as error:
            raise DataError(f"{table} has a column {name} of {columns[name].type}, not of texts.") from error
    return pa.table(columns)


def _names(table: Path) -> list[str]:
    return list(pq.read_schema(table).names)


def _listed(captions: pa.Array) -> pa.Array:
    """A list of one caption each, empty where there is none."""
    has = np.asarray(pc.fill_null(pc.greater(pc.utf8_length(captions), 0), False))
    offsets = pa.array(np.concatenate([[0], np.cumsum(has)]).astype(np.int32))
    return pa.ListArray.from_arrays(offsets, captions.filter(pa.array(has)))
