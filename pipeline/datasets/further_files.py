"""The samples of a further modality of an index by id, as bytes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.datasets.decode import read_bytes
from pipeline.datasets.known import doubt
from pipeline.datasets.tables import media_id, read_table
from pipeline.errors import DataError
from pipeline.ids import Ids
from pipeline.row_map import RowMap
from pipeline.work_folder import work_folder


class FurtherFiles:
    """Reads samples of an index; holds no open file, so it may be pickled and shared by threads.

    Args:
        index: its folder.
        modality: of `FURTHER`.
        columns: of the table of samples, that `load` gives beside the bytes.

    Raises:
        DataError: the index has no such samples.
    """

    def __init__(self, index: Path, modality: str, columns: Sequence[str] = ()) -> None:
        self._index, self._key = index, f"{modality}_id"
        self._table = read_table(index / f"{modality}.parquet", [self._key, "path", "offset", "length", *columns])
        self._positions = RowMap(self.row_ids)

    @property
    def row_ids(self) -> Ids:
        """The ids of the samples, in the order of the index."""
        return Ids.of(self._table.column(self._key))

    def load(self, identifier: str) -> tuple[dict[str, Any], bytes]:
        """The row of a sample and its encoded bytes.

        Raises:
            DataError: they cannot be read, or the file is no longer what was indexed.
            KeyError: there is no such sample.
        """
        position = int(self._positions.find([identifier])[0])
        if position < 0:
            raise KeyError(identifier)
        row: dict[str, Any] = self._table.take(pa.array(np.array([position]))).to_pylist()[0]
        content = read_bytes(row, self._index)
        path = Path(row["path"])
        if path.is_absolute() and media_id(content) != row[self._key]:
            doubt(work_folder(), path, int(row["offset"]), int(row["length"]))
            raise DataError(f"{path} has changed since it was indexed; run: dvc repro")
        return row, content
