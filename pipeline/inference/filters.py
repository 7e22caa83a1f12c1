"""Which rows a search may find: by id, and by what the tables beside the vectors say of them."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.config.further import FURTHER
from pipeline.datasets.tables import read_table
from pipeline.errors import DataError
from pipeline.inference.arguments import several

Where = Mapping[str, Any]  # by column, a value or several of which a row has one
_SHOWN = 8
_TABLES = {
    "image_id": ("labels.parquet", "images.parquet", "pairs.parquet"),
    **{f"{m}_id": (f"{m}_labels.parquet", f"{m}.parquet", f"{m}_pairs.parquet") for m in FURTHER},
    "text_id": ("texts.parquet",),
}


class NoSuchRows(DataError):
    """No row has a value, or no table a column, by which rows were to be chosen."""


def allowed_rows(ids: Any, among: Iterable[str]) -> np.ndarray:
    """Which rows may be found, (N,) bool.

    Args:
        ids: of all rows, an array of NumPy or Arrow.

    Raises:
        DataError: an id that no row has, or no list of them.
    """
    wanted = pa.array(list(map(str, several(among, "among", "ids"))), pa.string())
    own = ids if isinstance(ids, pa.Array | pa.ChunkedArray) else pa.array(np.asarray(ids).astype(str), pa.string())
    missing = wanted.filter(pc.invert(pc.is_in(wanted, value_set=own)))
    if len(missing):
        raise DataError(f"{len(missing)} ids of among are not in the store, the first: {missing[0].as_py()!r}.")
    return _mask(pc.is_in(own, value_set=wanted))


def columns_of(where: Where | None) -> Where:
    """Values by column; none for None.

    Raises:
        DataError: it is no dict.
    """
    if where is not None and not isinstance(where, Mapping):
        raise DataError(
            f'where must be a dict of values by column, such as {{"language": "en"}}, found {where!r:.80} '
            f"({type(where).__name__})."
        )
    return where or {}


def matching_rows(column: Any, wanted: Any, name: str) -> np.ndarray:
    """Which rows have one of some values in a column, (N,) bool; of a column of lists, in the list.

    Args:
        column: of Arrow. Numbers and booleans are compared as they are written: 3, 0.5, true.
        wanted: a value or several.
        name: of the column, for messages.

    Raises:
        NoSuchRows: a value that no row has.
        DataError: a column of something else.
    """
    values = [wanted] if isinstance(wanted, str) or not isinstance(wanted, Iterable) else list(wanted)
    written = [str(value).lower() if isinstance(value, bool) else str(value) for value in values]
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    owners = None
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        column, owners, count = pc.list_flatten(column), np.asarray(pc.list_parent_indices(column)), len(column)
    try:
        texts = pc.cast(column, pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"Rows cannot be chosen by {name!r}, a column of {column.type}.") from error
    absent = [value for value in written if not pc.any(pc.equal(texts, value)).as_py()]
    if absent:
        counted = sorted(pc.value_counts(texts.drop_null()).to_pylist(), key=lambda one: -one["counts"])
        there = ", ".join(repr(one["values"]) for one in counted[:_SHOWN])
        more = f" and {len(counted) - _SHOWN} more" if len(counted) > _SHOWN else ""
        raise NoSuchRows(f"No row has {name} {absent[0]!r}; there are: {there or 'none'}{more}.")
    found = _mask(pc.is_in(texts, value_set=pa.array(written, pa.string())))
    if owners is None:
        return found
    mask = np.zeros(count, dtype=bool)
    mask[owners[found]] = True
    return mask


def store_rows(index: Path, ids: np.ndarray, id_column: str, where: Where) -> np.ndarray:
    """Which rows of a store may be found by what its index says of them, (N,) bool.

    Args:
        index: folder of the index.
        ids: (N,) of the store.
        id_column: "image_id", "text_id", or "audio_id" and its likes, what the rows are. Columns of pictures are those
            of labels.parquet (`category`, `classname`, `concept`, `split`, ...), of images.parquet and of their
            captions in pairs.parquet (`language`, `role`); of sounds, of their tables alike; of texts, of
            texts.parquet.

    Raises:
        NoSuchRows: a column that no table has, or a value that no row has.
    """
    own = pa.array(ids.astype(str), pa.string())
    allowed = np.ones(len(ids), dtype=bool)
    for name, wanted in where.items():
        table = _table(index, id_column, name)
        chosen = table.column(id_column).filter(pa.array(matching_rows(table.column(name), wanted, name)))
        allowed &= _mask(pc.is_in(own, value_set=chosen.combine_chunks()))
    return allowed


def _table(index: Path, id_column: str, name: str) -> pa.Table:
    there: dict[str, Path] = {}
    for path in _present(index, id_column):
        for column in _columns(path):
            there.setdefault(column, path)
    if name not in there or name == id_column:
        columns = ", ".join(column for column in there if column not in _TABLES)
        raise NoSuchRows(f"Rows cannot be chosen by {name!r}: the tables of {index} have {columns}.")
    return read_table(there[name], [id_column, name])


def _columns(path: Path) -> list[str]:
    try:
        return list(pq.read_schema(path).names)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read as Parquet: {error}") from error


def _present(index: Path, id_column: str) -> Iterator[Path]:
    return (index / name for name in _TABLES[id_column] if (index / name).is_file())


def _mask(values: Any) -> np.ndarray:
    mask: np.ndarray = np.asarray(values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values)
    return mask.astype(bool)
