"""What splits know of sounds: the splits themselves come about as those of pictures, in families of both."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.datasets.labelled import Labelled
from pipeline.datasets.own_splits import SOUNDS
from pipeline.datasets.split_tables import SplitSamples, piece_of, with_dataset, with_splits
from pipeline.datasets.tables import (
    AUDIO_IMAGES,
    AUDIO_PAIRS,
    AUDIO_SAMPLES,
    ROW_GROUP,
    SAMPLES,
    read_pieces,
    read_table,
    write_pieces,
)
from pipeline.ids import Ids
from pipeline.row_map import RowMap

_COUNT = len(SAMPLES)  # columns before those of splits
_JOINED = {"audio_pairs": AUDIO_PAIRS, "audio_images": AUDIO_IMAGES}


def follow_pictures(images: np.ndarray, samples: Labelled) -> None:
    """Leave sounds out of the count where their family has pictures: these alone decide.

    Args:
        images: (F, D) int32, rows of each family in each data set, changed in place.
        samples: whose data sets they are.
    """
    heard = np.array([medium is SOUNDS for medium in samples.media], dtype=bool)
    seen = images[:, ~heard].any(axis=1)
    images[np.ix_(seen, heard)] = 0


def write_sounds(parts: Sequence[SplitSamples], out: Path) -> None:
    """Write audio_samples.parquet, audio_pairs.parquet and audio_images.parquet into `out`, if there are sounds."""
    names = ("audio_samples", *_JOINED)
    if not any(len(part.pictures) > part.pictures.pictures for part in parts):
        for name in names:
            (out / f"{name}.parquet").unlink(missing_ok=True)
        return
    schema = with_splits(AUDIO_SAMPLES, parts)
    write_pieces((piece for part in parts for piece in _samples(part, schema)), schema, out / "audio_samples.parquet")
    for name, columns in _JOINED.items():
        joint = pa.schema([("dataset", pa.string()), *columns])
        write_pieces(_joined(parts, name, columns, joint), joint, out / f"{name}.parquet")


def _samples(part: SplitSamples, schema: pa.Schema) -> Iterator[pa.Table]:
    rows = part.pictures
    splits = [field.name for field in schema][len(AUDIO_SAMPLES) :]
    plain = pa.schema([*SAMPLES, *((name, pa.string()) for name in splits)])
    for number, (medium, folder) in enumerate(zip(rows.media, rows.folders, strict=True)):
        if medium is not SOUNDS:
            continue
        index = read_table(folder / "audio.parquet", ["audio_id", "kind", "language"])
        by_id, of_dataset = RowMap(Ids.of(index.column("audio_id"))), rows.rows_of(number)
        for start in range(of_dataset.start, of_dataset.stop, ROW_GROUP):
            piece = piece_of(part, slice(start, min(start + ROW_GROUP, of_dataset.stop)), plain)
            told = index.take(pa.array(by_id.find(piece.column("image_id"))))
            columns = [*piece.columns[:_COUNT], told.column("kind"), told.column("language"), *piece.columns[_COUNT:]]
            yield pa.Table.from_arrays([_whole(column) for column in columns], schema=schema)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _joined(parts: Sequence[SplitSamples], name: str, columns: pa.Schema, joint: pa.Schema) -> Iterator[pa.Table]:
    for part in parts:
        rows = part.pictures
        for dataset, folder, medium in zip(rows.datasets, rows.folders, rows.media, strict=True):
            if medium is SOUNDS:
                for piece in read_pieces(folder / f"{name}.parquet", columns.names):
                    yield with_dataset(dataset, piece, joint)
