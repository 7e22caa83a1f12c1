"""Rows that are addressed by id, never by position across stores: what stores and fusions of them have in common."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from pipeline.coded import Coded
from pipeline.errors import DataError, MissingRows
from pipeline.features.id_list import id_list
from pipeline.features.ragged import RaggedArray
from pipeline.features.span import Rows
from pipeline.ids import Ids
from pipeline.row_map import RowMap

log = logging.getLogger(__name__)
SomeIds: TypeAlias = Sequence[str] | np.ndarray | Coded


class RowsById(ABC):
    """Features by id.

    Attributes:
        folder: where they are; of a fusion, where a store of its name would be.
        fingerprint: digest, compared and described fields (see `Fingerprint`).
        row_ids: (N,) ids in row order.
        valid: (N,) bool; False where the sample could not be encoded. Such rows are never served by id.
        reasons: why, for each id that is not valid.
        names: the feature arrays, e.g. ("cls", "mean", "grid").
        ragged_names: those with a varying number of tokens per sample, e.g. ("tokens",).
    """

    folder: Path
    fingerprint: dict[str, Any]
    row_ids: Ids
    valid: np.ndarray
    reasons: Mapping[str, str]
    names: tuple[str, ...]
    ragged_names: tuple[str, ...]

    @abstractmethod
    def array(self, name: str) -> Rows:
        """One array by name, as it is served.

        Raises:
            StoreError: there is none of that name; the message lists what there is.
        """

    @abstractmethod
    def ragged(self, name: str) -> RaggedArray:
        """One array with a varying number of tokens per sample; errors as `array`."""

    @property
    @abstractmethod
    def opened(self) -> tuple[Any, ...]:
        """What tells these rows from others at the same place."""

    def __len__(self) -> int:
        return len(self.row_ids)

    @cached_property
    def ids(self) -> np.ndarray:
        """`row_ids` as an array (N,) str; made when first asked for, as it takes 128 bytes an id in place of 16."""
        return np.array(self.row_ids.tolist(), dtype=str)

    @cached_property
    def _rows_by_id(self) -> RowMap:
        return RowMap(self.row_ids)

    def forget_ids(self) -> None:
        """Free what finds rows by id, until it is asked for again."""
        self.__dict__.pop("_rows_by_id", None)

    @property
    def source(self) -> str:
        """Where they come from, for messages: the folder, or the address of a remote store."""
        return str(self.folder)

    @property
    def digest(self) -> str:
        """The digest of the fingerprint."""
        return str(self.fingerprint["digest"])

    @property
    def _title(self) -> str:
        return f"{self.folder.name} through view {self.folder.parent.name}"

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of an array, (N, *row_shape)."""
        return self.array(name).shape

    def rows(self, ids: SomeIds) -> np.ndarray:
        """Positions (n,) int64 of the given ids.

        Raises:
            MissingRows: an id is not in the store, or its sample could not be encoded.
            DataError: `ids` is no list of strings; one string is none either.
        """
        ids = id_list(ids, self.folder)
        positions = self._positions(ids)
        if (positions < 0).any():
            lacking = np.flatnonzero(positions < 0)
            first = str(ids[int(lacking[0])])
            raise MissingRows(
                f"{self.source} lacks {len(lacking)} of {len(ids)} requested ids, the first {first!r}. "
                "The index and the store are from different runs; run: dvc repro"
            )
        refused = np.flatnonzero(~self.valid[positions])
        if refused.size:
            first = str(ids[int(refused[0])])
            raise MissingRows(
                f"{self.source}: {refused.size} of the requested ids could not be encoded, "
                f"the first {first!r}: {self.reasons[first]}. Ask for valid ids only (`store.valid`)."
            )
        return positions

    def servable(self, ids: SomeIds) -> np.ndarray:
        """Which of `ids` have features, (n,) bool: false where the sample could not be encoded.

        Raises:
            DataError: an id is not in the store at all, so index and store are from different runs.
        """
        ids = id_list(ids, self.folder)
        positions = self._positions(ids)
        lacking = np.flatnonzero(positions < 0)
        if lacking.size:
            raise DataError(
                f"The feature store of {self._title} lacks {lacking.size} of {len(ids)} ids that data/splits names, "
                f"the first {str(ids[int(lacking[0])])!r}. Bring index and store together with: dvc repro"
            )
        mask: np.ndarray = self.valid[positions]
        if not mask.all():
            first = str(ids[int(np.flatnonzero(~mask)[0])])
            log.warning(
                "%s: %d of %d rows could not be encoded and are left out, the first %r: %s",
                self._title, (~mask).sum(), len(mask), first, self.reasons[first],
            )  # fmt: skip
        return mask

    def holds(self, ids: SomeIds) -> np.ndarray:
        """Which of `ids` are rows of the store, valid or not: (n,) bool."""
        return self._positions(id_list(ids, self.folder)) >= 0

    def _positions(self, ids: SomeIds) -> np.ndarray:
        """Row of each id (n,) int64; -1 where the store does not hold it."""
        if not isinstance(ids, Coded):
            return self._rows_by_id.find(ids)
        used = np.unique(ids.codes)  # of a few pairs of many
        positions = np.empty(len(ids.values), np.int64)
        positions[used] = self._rows_by_id.find(ids.values.take(used))
        return np.asarray(positions[ids.codes])

    def read(self, name: str, ids: SomeIds) -> np.ndarray:
        """Features (n, *row_shape) of the given ids in the dtype served, in the order of `ids`.

        Raises:
            MissingRows, DataError: as `rows`.
        """
        return self.array(name).take(self.rows(ids))
