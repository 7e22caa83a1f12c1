"""data/splits/samples.parquet by column, and its like of other modalities: numbers in place of strings, rows by id."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline.coded import Coded
from pipeline.datasets.samples import SPLITS as SPLIT_NAMES
from pipeline.datasets.tables import read_pieces, table_columns
from pipeline.errors import DataError
from pipeline.freed_memory import give_back
from pipeline.ids import Ids
from pipeline.paths import SPLITS
from pipeline.row_map import RowMap

IMAGE = "image"


def samples_file(modality: str = IMAGE) -> str:
    """The table of a modality's samples in data/splits; their ids are in its column `<modality>_id`."""
    return "samples.parquet" if modality == IMAGE else f"{modality}_samples.parquet"


@dataclass(frozen=True)
class SampleTable:
    """Samples of one modality with their splits: pictures, unless another is asked for.

    Attributes:
        dataset: (N,).
        image_id: (N,), of pictures or of what the samples are.
        columns: (N,) each, those that were asked for.
        splits: (N, R).
        modality: what they are.
    """

    dataset: Coded
    image_id: Ids
    columns: dict[str, Coded]
    splits: Coded
    modality: str = IMAGE
    _maps: dict[str, tuple[np.ndarray, RowMap]] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.image_id)

    @classmethod
    def read(cls, columns: Iterable[str], repeats: int, modality: str = IMAGE) -> "SampleTable":
        """Read some columns of strings, and the splits of the first `repeats` repeats.

        Raises:
            DataError: the table is missing or lacks a column.
        """
        key, path = f"{modality}_id", SPLITS / samples_file(modality)
        require_columns(("dataset", key, *columns), repeats, modality)
        ids = Ids.joined(piece.column(key) for piece in read_pieces(path, [key]))
        splits = np.empty((len(ids), repeats), np.int8)
        for repeat in range(repeats):
            splits[:, repeat] = _column(path, f"split_{repeat}").numbered_as(SPLIT_NAMES)
        table = cls(
            dataset=_column(path, "dataset"),
            image_id=ids,
            columns={name: _column(path, name) for name in columns},
            splits=Coded(splits, Ids.of(SPLIT_NAMES)),
            modality=modality,
        )
        give_back()
        return table

    def find(self, dataset: str, ids: Sequence[str] | np.ndarray) -> np.ndarray:
        """Rows (n,) int64 of samples of a data set; -1 where there is none."""
        if dataset not in self._maps:
            rows = np.flatnonzero(self.dataset == dataset).astype(np.int32 if len(self) < 2**31 else np.int64)
            self._maps[dataset] = rows, RowMap(self.image_id[rows])
        rows, by_id = self._maps[dataset]
        found = by_id.find(ids)
        return np.where(found >= 0, rows[found], -1) if len(rows) else found


def require_columns(columns: Iterable[str], repeats: int, modality: str = IMAGE) -> list[str]:
    """The given columns of samples.parquet, or of the table of another modality, and those of the splits.

    Raises:
        DataError: the table is missing or lacks one of them.
    """
    path = SPLITS / samples_file(modality)
    names, there = [*columns, *(f"split_{i}" for i in range(repeats))], table_columns(path)
    if lacking := [name for name in names if name not in there]:
        raise DataError(
            f"{path} lacks the columns {', '.join(lacking)}; params.yaml has splits.repeats: {repeats}. "
            "Draw the splits again with: dvc repro"
        )
    return names


def _column(path: Path, name: str) -> Coded:
    return Coded.of_pieces(piece.column(name) for piece in read_pieces(path, [name]))
