"""data/splits/samples.parquet by column: numbers in place of strings, and rows found by picture."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline.coded import Coded
from pipeline.datasets.samples import SPLITS as SPLIT_NAMES
from pipeline.datasets.tables import read_pieces, table_columns
from pipeline.errors import DataError
from pipeline.ids import Ids
from pipeline.paths import SPLITS
from pipeline.row_map import RowMap

_FILE = "samples.parquet"


@dataclass(frozen=True)
class SampleTable:
    """Pictures with their splits.

    Attributes:
        dataset: (N,).
        image_id: (N,).
        columns: (N,) each, those that were asked for.
        splits: (N, R).
    """

    dataset: Coded
    image_id: Ids
    columns: dict[str, Coded]
    splits: Coded
    _maps: dict[str, tuple[np.ndarray, RowMap]] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.image_id)

    @classmethod
    def read(cls, columns: Iterable[str], repeats: int) -> "SampleTable":
        """Read some columns of strings, and the splits of the first `repeats` repeats.

        Raises:
            DataError: the table is missing or lacks a column.
        """
        require_columns(("dataset", "image_id", *columns), repeats)
        path = SPLITS / _FILE
        ids = Ids.joined(piece.column("image_id") for piece in read_pieces(path, ["image_id"]))
        splits = np.empty((len(ids), repeats), np.int8)
        for repeat in range(repeats):
            splits[:, repeat] = _column(f"split_{repeat}").numbered_as(SPLIT_NAMES)
        return cls(
            dataset=_column("dataset"),
            image_id=ids,
            columns={name: _column(name) for name in columns},
            splits=Coded(splits, Ids.of(SPLIT_NAMES)),
        )

    def find(self, dataset: str, ids: Sequence[str] | np.ndarray) -> np.ndarray:
        """Rows (n,) int64 of pictures of a data set; -1 where there is none."""
        if dataset not in self._maps:
            rows = np.flatnonzero(self.dataset == dataset).astype(np.int32 if len(self) < 2**31 else np.int64)
            self._maps[dataset] = rows, RowMap(self.image_id[rows])
        rows, by_id = self._maps[dataset]
        found = by_id.find(ids)
        return np.where(found >= 0, rows[found], -1) if len(rows) else found


def require_columns(columns: Iterable[str], repeats: int) -> list[str]:
    """The given columns of samples.parquet, and those of the splits.

    Raises:
        DataError: the table is missing or lacks one of them.
    """
    path = SPLITS / _FILE
    names, there = [*columns, *(f"split_{i}" for i in range(repeats))], table_columns(path)
    if lacking := [name for name in names if name not in there]:
        raise DataError(
            f"{path} lacks the columns {', '.join(lacking)}; params.yaml has splits.repeats: {repeats}. "
            "Draw the splits again with: dvc repro"
        )
    return names


def _column(name: str) -> Coded:
    return Coded.of_pieces(piece.column(name) for piece in read_pieces(SPLITS / _FILE, [name]))
