"""Collects the rows of a shard, which arrive in any order."""

from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.features import ArraySpec
from pipeline.features.shards import length_spec


class ShardRows:
    """A buffer for the rows of one shard, ragged arrays included."""

    def __init__(self, specs: Sequence[ArraySpec], rows: int) -> None:
        self._specs = list(specs)
        self._fixed = {s.name: np.empty((rows, *s.row_shape), s.dtype) for s in specs if not s.ragged}
        self._ragged = {s.name: [np.empty((0, *s.row_shape), s.dtype)] * rows for s in specs if s.ragged}

    def put(self, positions: np.ndarray, arrays: Mapping[str, np.ndarray]) -> None:
        """Set some rows.

        Args:
            positions: (n,) int64, where they belong.
            arrays: per stored array (n, *row_shape); of a ragged one the tokens of all n rows in order.
        """
        for spec in self._specs:
            if spec.ragged:
                ends = np.cumsum(arrays[length_spec(spec).name])[:-1]
                for position, tokens in zip(positions.tolist(), np.split(arrays[spec.name], ends), strict=True):
                    self._ragged[spec.name][position] = tokens
            else:
                self._fixed[spec.name][positions] = arrays[spec.name]

    def arrays(self) -> dict[str, np.ndarray]:
        """All rows in order, per stored array."""
        return self._fixed | {name: np.concatenate(rows) for name, rows in self._ragged.items()}
