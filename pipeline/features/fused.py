"""Several views as one: stores whose rows are joined by id and whose features stand side by side. Nothing is written.

A fused row holds, of each member in turn, what a head would take of it: of several kept layers the last one.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import StoreError
from pipeline.features.by_id import RowsById, SomeIds
from pipeline.features.fingerprint import digest_of
from pipeline.features.identity import row_positions, row_range
from pipeline.features.memory import output
from pipeline.features.ragged import RaggedArray
from pipeline.features.span import Rows, row_bytes
from pipeline.ids import Ids

MEMBERS = "members"  # where the fingerprint of a fusion holds those of its views, in order
_VECTORS = ("cls", "mean", "pooled")  # kept of several layers, perhaps
_TOKENS = ("grid",)
_PIECE_BYTES = 1 << 20


def fused_fingerprint(members: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """The fingerprint of a fusion, from those of its views in order; their names do not count."""
    compared = {MEMBERS: [member["digest"] for member in members.values()]}
    return {"digest": digest_of(compared), "compared": compared, "described": {}, MEMBERS: dict(members)}


def member_fingerprints(fingerprint: Mapping[str, Any], view: str) -> dict[str, dict[str, Any]]:
    """The fingerprints of the views that are fused, by name; of a view that is none, its own alone.

    Raises:
        ValueError: those of a fusion do not make up its digest.
    """
    if MEMBERS not in fingerprint:
        return {view: dict(fingerprint)}
    members: dict[str, dict[str, Any]] = dict(fingerprint[MEMBERS])
    if fused_fingerprint(members)["digest"] != fingerprint["digest"]:
        raise ValueError(f"the members of view {view} do not have its digest")
    return members


def modality_of(fingerprint: Mapping[str, Any], default: str) -> str:
    """The modality that a fingerprint states, of several views that are fused that of the first."""
    members = fingerprint.get(MEMBERS)
    one = next(iter(members.values())) if members else fingerprint
    return str(one.get("compared", {}).get("modality", default))


def side_by_side(name: str, arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Rows (n, ..., D1 + D2 + ...) of an array from those of its members (n, ..., D), one of which may keep layers."""
    return np.concatenate([_last_layer(name, array) for array in arrays], axis=-1)


def shared_names(members: Sequence[Mapping[str, tuple[int, ...]]]) -> tuple[str, ...]:
    """The arrays that can stand side by side.

    Args:
        members: of each, the shapes of its arrays, (N, *row_shape).
    """
    kept = [name for name in members[0] if name in (*_VECTORS, *_TOKENS) and all(name in other for other in members)]
    return tuple(name for name in kept if name in _VECTORS or len({member[name][1:-1] for member in members}) == 1)


def _last_layer(name: str, rows: np.ndarray) -> np.ndarray:
    return rows[:, -1] if name in _VECTORS and rows.ndim == 3 else rows


class FusedStore(RowsById):
    """The rows of several stores of one data set; `valid` are those that every one of them serves.

    A row that one of them lacks is left out like one that could not be encoded, and its reason names the view.

    Args:
        folder: the place that a store of this name would have; nothing is there.
        members: the stores by view, in the order of their features.
    """

    def __init__(self, folder: Path, members: Mapping[str, RowsById]) -> None:
        self.folder = folder
        self.members = dict(members)
        stores = list(members.values())
        self.fingerprint = fused_fingerprint({view: store.fingerprint for view, store in members.items()})
        self.names = shared_names([{name: store.shape(name) for name in store.names} for store in stores])
        self.ragged_names = ()
        everywhere = Ids.joined(store.row_ids for store in stores)
        self.row_ids = everywhere.take(everywhere.firsts())
        kind = np.int32 if len(self.row_ids) < 2**31 else np.int64
        self._rows: list[np.ndarray] = [store._positions(self.row_ids).astype(kind) for store in stores]
        self.valid = np.ones(len(self.row_ids), dtype=bool)
        for store, rows in zip(stores, self._rows, strict=True):
            self.valid &= np.asarray(rows >= 0) & store.valid[rows] if len(store) else False
        self.reasons = _WhyNot(self)

    def why_not(self, identifier: str) -> str | None:
        """Why a row is left out, None if it is not; of several views the first is named."""
        row = int(self._positions([identifier])[0])
        if row < 0:
            return None
        for (view, store), rows in zip(self.members.items(), self._rows, strict=True):
            if rows[row] < 0:
                return f"view {view!r} has no such row"
            if (reason := store.reasons.get(identifier)) is not None:
                return f"{reason} (view {view!r})"
        return None

    def forget_ids(self) -> None:
        """See `RowsById`."""
        super().forget_ids()
        for store in self.members.values():
            store.forget_ids()

    @property
    def opened(self) -> tuple[Any, ...]:
        """See `RowsById`."""
        return tuple(store.opened for store in self.members.values())

    @property
    def widths(self) -> tuple[int, ...]:
        """How many features each member has."""
        return tuple(store.shape(self.names[0])[-1] for store in self.members.values())

    def array(self, name: str) -> "FusedRows":
        """See `RowsById`."""
        if name not in self.names:
            each = "; ".join(f"{view} holds {', '.join(store.names)}" for view, store in self.members.items())
            raise StoreError(
                f"{self.folder.name} through the fused view {self.folder.parent.name!r} has "
                f"{', '.join(self.names) or 'nothing in common'}, not {name!r} ({each}). Views that are fused need "
                "the same `tier` in params.yaml, and as many tokens."
            )
        return FusedRows(name, [store.array(name) for store in self.members.values()], self._rows)

    def ragged(self, name: str) -> RaggedArray:
        """Raises StoreError: tokens of different tokenizers do not stand side by side."""
        raise StoreError(
            f"{name!r} of the fused view {self.folder.parent.name!r} cannot be joined: its encoders cut texts into "
            "tokens of their own. Set `text_tokens: pooled` for the head."
        )

    def holds(self, ids: SomeIds) -> np.ndarray:
        """Which of `ids` are rows of every store, valid or not: (n,) bool."""
        held = [store.holds(ids) for store in self.members.values()]
        return np.asarray(np.all(held, axis=0))


class _WhyNot(Mapping[str, str]):
    """Why each row of a fusion is left out, by id, found when it is asked for: rows may be missing by the million."""

    def __init__(self, store: FusedStore) -> None:
        self._store = store

    def __getitem__(self, identifier: str) -> str:
        reason = self._store.why_not(identifier)
        if reason is None:
            raise KeyError(identifier)
        return reason

    def __iter__(self) -> Iterator[str]:
        return iter(self._store.row_ids[~self._store.valid])

    def __len__(self) -> int:
        return int(np.count_nonzero(~self._store.valid))


class FusedRows:
    """One array of several stores: rows (..., D1 + D2 + ...).

    Args:
        name: of the array.
        parts: of each store, (N, ..., D), with a further axis where it keeps several layers.
        rows: of each part (M,) int, where it has each row; below 0 where it lacks it, which is served as zeros.
    """

    def __init__(self, name: str, parts: Sequence[Rows], rows: Sequence[np.ndarray]) -> None:
        shapes = [part.shape[1:] for part in parts]
        if name in _VECTORS:
            shapes = [shape[-1:] for shape in shapes]
        self._name, self._parts, self._rows = name, list(parts), list(rows)
        self._ends = np.cumsum([0, *(shape[-1] for shape in shapes)]).tolist()
        self.shape: tuple[int, ...] = (len(rows[0]), *shapes[0][:-1], self._ends[-1])
        self.dtype: np.dtype[Any] = np.result_type(*(part.dtype for part in parts))
        self._piece = max(1, _PIECE_BYTES // max(map(row_bytes, parts)))  # all layers are read, so a piece at a time

    def take(self, rows: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """The given rows (n, ..., D), in any order; written into `out` where it is given; errors as `row_positions`."""
        rows = row_positions(rows, self.shape[0], f"{self._name} of a fused view")
        out = output(out, (len(rows), *self.shape[1:]), self.dtype)
        for start in range(0, len(rows), self._piece):
            some = slice(start, start + self._piece)
            for part, place, low, high in zip(self._parts, self._rows, self._ends, self._ends[1:], strict=False):
                out[some][..., low:high] = self._of(part, place[rows[some]])
        return out

    def read_range(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
        """Rows `start` to `stop` - 1, in order; written into `out` where it is given; errors as `row_range`."""
        return self.take(np.arange(*row_range(start, stop, self.shape[0], f"{self._name} of a fused view")), out)

    def _of(self, part: Rows, rows: np.ndarray) -> np.ndarray:
        lacking = rows < 0
        if not lacking.any():
            return _last_layer(self._name, part.take(rows))
        found = part.take(rows[~lacking])
        whole = np.zeros((len(rows), *found.shape[1:]), found.dtype)
        whole[~lacking] = found
        return _last_layer(self._name, whole)
