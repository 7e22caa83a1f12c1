"""samples.parquet and pairs.parquet of data/splits, written in pieces."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.coded import Coded
from pipeline.datasets.labelled import ORDER, Labelled
from pipeline.datasets.own_splits import PICTURES
from pipeline.datasets.tables import JOINT_PAIRS, PAIRS, ROW_GROUP, SAMPLES, read_pieces, read_table, write_pieces
from pipeline.ids import Ids
from pipeline.row_map import RowMap

_SPLIT_NAMES = Ids.of(ORDER)


@dataclass(frozen=True)
class SplitSamples:
    """Pictures with what was decided about them.

    Attributes:
        pictures: of some data sets.
        family: (n,) int32, the concept after which the family of each is named; None where each concept of a data set
            is a family by itself.
        development: (n,) bool.
        splits: per repeat (n,) int8, positions in `ORDER`.
    """

    pictures: Labelled
    family: np.ndarray | None
    development: np.ndarray
    splits: Sequence[np.ndarray]


def write_samples(parts: Sequence[SplitSamples], out: Path) -> None:
    """Write samples.parquet into `out`."""
    schema = with_splits(SAMPLES, parts)
    pieces = (
        piece_of(part, slice(start, min(start + ROW_GROUP, part.pictures.pictures)), schema)
        for part in parts
        for start in range(0, part.pictures.pictures, ROW_GROUP)
    )
    write_pieces(pieces, schema, out / "samples.parquet")


def with_splits(schema: pa.Schema, parts: Sequence[SplitSamples]) -> pa.Schema:
    """The schema with a column for the split of each repeat."""
    repeats = len(parts[0].splits)
    return pa.schema([*schema, *((f"split_{repeat}", pa.string()) for repeat in range(repeats))])


def piece_of(part: SplitSamples, rows: slice, schema: pa.Schema) -> pa.Table:
    """Some rows as a table of `schema`, which has the columns of `SAMPLES` and of splits."""
    pictures, labels = part.pictures, part.pictures.labels[rows]
    dataset = Coded(pictures.dataset[rows], Ids.of(pictures.datasets)).arrow()
    concept = pictures.concept[labels].arrow()
    if part.family is None:
        family = pc.binary_join_element_wise(dataset, concept, ": ")
    else:
        family = Coded(part.family[rows], pictures.concept.values).arrow()
    columns = [
        dataset,
        pictures.ids[rows].strings().cast(pa.string()),
        concept,
        pictures.classname[labels].arrow(),
        pictures.category[labels].arrow(),
        family,
        pa.array(part.development[rows]),
        *(Coded(split[rows], _SPLIT_NAMES).arrow() for split in part.splits),
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def write_pairs(trained: Labelled, transferred: Labelled, out: Path) -> None:
    """Write pairs.parquet into `out`: pairs in the order of their tables, those for transfer in that of pictures."""

    def pieces() -> Iterator[pa.Table]:
        for dataset, folder in _with_pictures(trained):
            for piece in read_pieces(folder / "pairs.parquet", PAIRS.names):
                yield with_dataset(dataset, piece, JOINT_PAIRS)
        for number, (dataset, folder) in enumerate(_with_pictures(transferred)):
            pairs = read_table(folder / "pairs.parquet", PAIRS.names)
            picture = RowMap(transferred.ids[transferred.rows_of(number)]).find(pairs.column("image_id"))
            ordered = pairs.take(pa.array(np.argsort(picture, kind="stable")))
            yield with_dataset(dataset, ordered, JOINT_PAIRS)

    write_pieces(pieces(), JOINT_PAIRS, out / "pairs.parquet")


def _with_pictures(labelled: Labelled) -> list[tuple[str, Path]]:
    sources = zip(labelled.datasets, labelled.folders, labelled.media, strict=True)
    return [(dataset, folder) for dataset, folder, medium in sources if medium is PICTURES]


def with_dataset(dataset: str, rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """The rows of a table of one data set, with its name before them as in `schema`."""
    names = pa.array([dataset], pa.string()).take(pa.array(np.zeros(len(rows), np.int64)))
    return rows.add_column(0, schema.field("dataset"), names)
