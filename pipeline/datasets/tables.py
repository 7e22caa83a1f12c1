"""The tables of an index: their columns, and reading and writing them as Parquet.

`images`, `texts`, `pairs` and `labels` are written per data set, and those of `datasets/further.py` where it has a
further modality; `samples` joins all data sets in data/splits. Ids are content hashes, so the same picture or string
has the same id everywhere.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import DataError
from pipeline.parquet import grouped, parquet_pieces, read_parquet

IMAGES = pa.schema(
    [
        ("image_id", pa.string()),  # content hash of the encoded bytes
        ("modality", pa.string()),  # "image"
        ("path", pa.string()),  # file that holds the bytes, relative to the index folder unless absolute
        ("offset", pa.int64()),  # first byte in that file
        ("length", pa.int64()),  # number of bytes; -1 reads to the end
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("parent_id", pa.string()),  # crops and windows: the image they are cut from
        ("box", pa.list_(pa.int32())),  # crops and windows: left, top, right, bottom in pixels of the parent
        ("mask", pa.string()),  # "alpha" where the alpha channel is an exact mask
        ("key", pa.string()),  # the name a human knows it by
    ]
)
TEXTS = pa.schema(
    [
        ("text_id", pa.string()),  # hash of the string
        ("modality", pa.string()),  # "text"
        ("text", pa.string()),
        ("language", pa.string()),
        ("role", pa.string()),  # caption, prompt, class name, long
    ]
)
PAIRS = pa.schema(
    [
        ("image_id", pa.string()),
        ("text_id", pa.string()),
        ("language", pa.string()),
        ("role", pa.string()),
    ]
)
LABELS = pa.schema(
    [
        ("image_id", pa.string()),
        ("concept", pa.string()),  # one key across data sets
        ("classname", pa.string()),  # the concept as it is written in a prompt
        ("category", pa.string()),  # a coarse class, or null
        ("keywords", pa.list_(pa.string())),  # English words of this concept, for finding its family
        ("split", pa.string()),  # the data set's own split (train, validation, test), or null
    ]
)
FAILURES = pa.schema([("key", pa.string()), ("reason", pa.string())])
SAMPLES = pa.schema(
    [
        ("dataset", pa.string()),
        ("image_id", pa.string()),
        ("concept", pa.string()),
        ("classname", pa.string()),
        ("category", pa.string()),
        ("family", pa.string()),
        ("development", pa.bool_()),  # of a family on which choices are made, and which no repeat tests
    ]
)  # followed by one string column `split_<i>` per repeat: train, validation or test
JOINT_PAIRS = pa.schema([("dataset", pa.string()), *PAIRS])
PROMPTS = pa.schema(
    [
        ("dataset", pa.string()),
        ("label", pa.string()),  # "concept" or "category": which column of `samples` the class comes from
        ("classname", pa.string()),
        ("value", pa.string()),  # the value in that column
        ("set", pa.string()),
        ("template", pa.int32()),  # position in the set
        ("text_id", pa.string()),
        ("language", pa.string()),  # of the class name; English where null
    ]
)
OBJECTS = pa.schema(
    [
        ("image_id", pa.string()),  # the scene
        ("instance", pa.int32()),  # its number in the masks, from 1, largest first
        ("dataset", pa.string()),  # where the cut-out comes from
        ("piece_id", pa.string()),  # image id of the cut-out there
        ("concept", pa.string()),
        ("category", pa.string()),  # or null
        ("pixels", pa.int32()),  # visible, after occlusion
    ]
)  # of composed scenes
MASKS = pa.schema(
    [
        ("image_id", pa.string()),  # the picture: a row of `images`, or the parent of windows there
        ("path", pa.string()),  # file that holds the label map, a PNG of one channel; as in `images`
        ("offset", pa.int64()),
        ("length", pa.int64()),
        ("mask_id", pa.string()),  # content hash of its encoded bytes
        ("width", pa.int32()),  # of picture and label map
        ("height", pa.int32()),
        ("key", pa.string()),
        ("scene", pa.string()),  # category of the whole picture, or null
    ]
)  # of segmentation data sets, with `classes`
CLASSES = pa.schema(
    [
        ("value", pa.int32()),  # in the label maps; several rows of one value and language are names of one class
        ("classname", pa.string()),
        ("kind", pa.string()),  # class, background, or void (no pixel of it counts)
        ("language", pa.string()),
    ]
)
ROW_GROUP = 65536  # rows that are written, and read, together
SCHEMAS = {
    "images": IMAGES,
    "texts": TEXTS,
    "pairs": PAIRS,
    "labels": LABELS,
    "failures": FAILURES,
    "prompts": PROMPTS,
    "masks": MASKS,
    "classes": CLASSES,
}


def media_id(content: bytes) -> str:
    """Id of an image or another sample: the first 128 bits of the SHA-256 of its encoded bytes, in hex."""
    return hashlib.sha256(content).hexdigest()[:32]


image_id = media_id


def text_id(text: str) -> str:
    """Id of a text: the first 128 bits of the SHA-256 of its UTF-8 form, in hex (32 characters)."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:32]


def write_table(table: pa.Table, path: Path) -> None:
    """Write `table` as Parquet at `path`, whole or not at all; the same table gives the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    pq.write_table(table, partial, compression="zstd", row_group_size=ROW_GROUP)
    os.replace(partial, path)


def write_pieces(pieces: Iterable[pa.Table], schema: pa.Schema, path: Path) -> int:
    """`write_table` of a table that comes in pieces of any length, few of them held at a time; returns its rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    rows = 0
    with pq.ParquetWriter(partial, schema, compression="zstd") as writer:
        for group in grouped(pieces, ROW_GROUP):
            writer.write_table(group, row_group_size=ROW_GROUP)
            rows += len(group)
        if not rows:
            writer.write_table(schema.empty_table(), row_group_size=ROW_GROUP)
    os.replace(partial, path)
    return rows


def read_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    """Read the Parquet file at `path`, or only `columns` of it.

    Raises:
        DataError: the file is missing, is not a Parquet file, is damaged or lacks a column.
    """
    with _readable(path):
        table = read_parquet(path, columns)
        table.validate(full=True)  # or a text that is no UTF-8 would be an error where it is used
        return table


def read_pieces(path: Path, columns: Sequence[str]) -> Iterator[pa.Table]:
    """`read_table` of some columns in pieces of at most `ROW_GROUP` rows, each read when asked for; errors as there."""
    with _readable(path):
        for piece in parquet_pieces(path, columns, ROW_GROUP):
            piece.validate(full=True)
            yield piece


def table_columns(path: Path) -> list[str]:
    """The names of the columns of the Parquet file at `path`; errors as `read_table`."""
    with _readable(path):
        names: list[str] = pq.read_schema(path).names
        return names


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Gives what is wrong with a file that is read as `DataError`."""
    if not path.is_file():
        raise DataError(f"No table at {path}. Run the stage that writes it: dvc repro")
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise DataError(f"{path} cannot be read as a Parquet table ({error}). Delete it and run: dvc repro") from error
