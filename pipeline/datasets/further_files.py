"""The samples of a further modality of an index by id, as bytes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.datasets.decode import indexed_bytes
from pipeline.datasets.tables import read_table
from pipeline.ids import Ids
from pipeline.row_map import RowMap


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
        return row, indexed_bytes(row, self._index, row[self._key])
