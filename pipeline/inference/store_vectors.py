"""The vectors that an aligner makes of a feature store, written once to be searched many times."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.arithmetic import own_arithmetic
from pipeline.datasets.tables import read_table
from pipeline.errors import DataError
from pipeline.inference.collection_files import free_files, open_vectors, rows_table, write_rows
from pipeline.inference.search import index_of, store_side

if TYPE_CHECKING:
    from pipeline.inference.model import Aligner

_LABELS = ("concept", "classname", "category", "split")


def write_store_vectors(aligner: "Aligner", folder: Path, out: Path, *, dtype: str = "float32") -> list[Path]:
    """Pass the rows of a store through the heads, block by block, into a folder that `Collection.open` opens.

    Rows that could not be encoded are left out. The table beside them has ids, paths, first captions, labels and
    languages from the store's index, by which a search may be narrowed.

    Args:
        dtype: float32, float16 or int8.

    Raises:
        StoreError, FingerprintMismatch: no store, or of another view than the aligner's.
        DataError: `out` holds vectors already; the store has no index.
    """
    owner, store = aligner.rows_of(folder)
    modality = owner.config.modality(store_side(store, owner.config))
    index = index_of(folder)
    ids = store.ids[store.valid]
    if not len(ids):
        raise DataError(f"{folder} has no rows that could be encoded.")
    file, beside = free_files(out, "text" if modality == "text" else "img")
    table = _texts(index, ids) if modality == "text" else _samples(index, ids, modality)
    with own_arithmetic(), open_vectors(file, len(ids), aligner.embed_dim, dtype) as written:
        for _, vectors in aligner.stored_vectors(store):
            written.append(vectors)
    write_rows(table, beside)
    return [file, beside]


def _texts(index: Path, ids: np.ndarray) -> pa.Table:
    texts = read_table(index / "texts.parquet", ["text_id", "text", "language", "role"])
    found = texts.take(_places(texts.column("text_id"), ids, index))
    others = {name: found.column(name) for name in ("language", "role")}
    return rows_table([None] * len(ids), _lists(found.column("text")), id=found.column("text_id"), **others)


def _samples(index: Path, ids: np.ndarray, modality: str) -> pa.Table:
    """Pictures, or what stands in tables of their form."""
    key, further = f"{modality}_id", "" if modality == "image" else f"{modality}_"
    images = read_table(index / ("images.parquet" if not further else f"{modality}.parquet"), [key, "path", "key"])
    places = _places(images.column(key), ids, index)
    found = images.take(places)
    paths = [str(index / path) for path in found.column("path").to_pylist()]  # absolute ones stay as they are
    pairs = read_table(index / f"{further}pairs.parquet", [key, "text_id", "language"])
    first = pairs.take(pc.index_in(found.column(key), value_set=pairs.column(key)))
    texts = read_table(index / "texts.parquet", ["text_id", "text"])
    captions = texts.column("text").take(pc.index_in(first.column("text_id"), value_set=texts.column("text_id")))
    others = {"id": found.column(key), "key": found.column("key"), "language": first.column("language")}
    if (index / f"{further}labels.parquet").is_file():
        labels = read_table(index / f"{further}labels.parquet", [key, *_LABELS])
        rows = labels.take(pc.index_in(found.column(key), value_set=labels.column(key)))
        others |= {name: rows.column(name) for name in _LABELS}
    if further:  # rows of an index that are opened are pictures
        return rows_table(paths, _lists(captions), **others)
    where = pa.array([str(index.resolve())] * len(ids), pa.string())
    return rows_table(paths, _lists(captions), **others, index=where, index_row=places)


def _places(column: pa.ChunkedArray, ids: np.ndarray, index: Path) -> pa.Array:
    wanted = pa.array(ids.astype(str), pa.string())
    places = pc.index_in(wanted, value_set=column)
    if places.null_count:
        missing = wanted.filter(pc.is_null(places))[0].as_py()
        raise DataError(f"{index} has no row {missing}: it is of other data than the store. Run: dvc repro")
    return places


def _lists(captions: pa.ChunkedArray) -> list[list[str]]:
    return [[] if caption is None else [caption] for caption in captions.to_pylist()]
