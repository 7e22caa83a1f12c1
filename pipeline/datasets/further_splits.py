"""What splits know of further modalities: the splits come about as those of pictures, in families of all."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.datasets.further import samples_schema, schemas
from pipeline.datasets.labelled import Labelled
from pipeline.datasets.own_splits import FURTHER_MEDIA, PICTURES, Medium
from pipeline.datasets.split_tables import SplitSamples, piece_of, with_dataset, with_splits
from pipeline.datasets.tables import ROW_GROUP, SAMPLES, read_pieces, read_table, write_pieces
from pipeline.ids import Ids
from pipeline.row_map import RowMap

_COUNT = len(SAMPLES)  # columns before those of splits


def follow_pictures(images: np.ndarray, samples: Labelled) -> None:
    """Leave further modalities out of the count where their family has pictures: these alone decide. Where it has none,
    each modality counts only in families without one that stands before it.

    Args:
        images: (F, D) int32, rows of each family in each data set, changed in place.
        samples: whose data sets they are.
    """
    before = np.zeros(len(images), dtype=bool)
    for medium in (PICTURES, *FURTHER_MEDIA.values()):
        of_medium = np.array([other is medium for other in samples.media], dtype=bool)
        images[np.ix_(before, of_medium)] = 0
        before |= images[:, of_medium].any(axis=1)


def write_further(parts: Sequence[SplitSamples], out: Path) -> None:
    """Write `m_samples`, `m_pairs` and `m_images` into `out`, of every further modality m that there is."""
    for modality, medium in FURTHER_MEDIA.items():
        joined = (medium.pairs, f"{modality}_images")
        if not any(other is medium for part in parts for other in part.pictures.media):
            for name in (f"{modality}_samples", *joined):
                (out / f"{name}.parquet").unlink(missing_ok=True)
            continue
        schema = with_splits(samples_schema(modality), parts)
        pieces = (piece for part in parts for piece in _samples(part, medium, schema))
        write_pieces(pieces, schema, out / f"{modality}_samples.parquet")
        for name in joined:
            columns = schemas(modality)[name]
            joint = pa.schema([("dataset", pa.string()), *columns])
            write_pieces(_joined(parts, medium, name, columns, joint), joint, out / f"{name}.parquet")


def _samples(part: SplitSamples, medium: Medium, schema: pa.Schema) -> Iterator[pa.Table]:
    rows = part.pictures
    splits = [field.name for field in schema][len(samples_schema(medium.rows)) :]
    plain = pa.schema([*SAMPLES, *((name, pa.string()) for name in splits)])
    for number, (other, folder) in enumerate(zip(rows.media, rows.folders, strict=True)):
        if other is not medium:
            continue
        index = read_table(folder / f"{medium.rows}.parquet", [medium.column, "kind", "language"])
        by_id, of_dataset = RowMap(Ids.of(index.column(medium.column))), rows.rows_of(number)
        for start in range(of_dataset.start, of_dataset.stop, ROW_GROUP):
            piece = piece_of(part, slice(start, min(start + ROW_GROUP, of_dataset.stop)), plain)
            told = index.take(pa.array(by_id.find(piece.column("image_id"))))
            columns = [*piece.columns[:_COUNT], told.column("kind"), told.column("language"), *piece.columns[_COUNT:]]
            yield pa.Table.from_arrays([_whole(column) for column in columns], schema=schema)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _joined(
    parts: Sequence[SplitSamples], medium: Medium, name: str, columns: pa.Schema, joint: pa.Schema
) -> Iterator[pa.Table]:
    for part in parts:
        rows = part.pictures
        for dataset, folder, other in zip(rows.datasets, rows.folders, rows.media, strict=True):
            if other is medium:
                for piece in read_pieces(folder / f"{name}.parquet", columns.names):
                    yield with_dataset(dataset, piece, joint)
