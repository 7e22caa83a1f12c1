"""What will be encoded, in which order and shards, and how large it will be."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.config import FurtherView
from pipeline.datasets.tables import read_pieces
from pipeline.encoding.further import rows_of
from pipeline.encoding.texts import StoredTexts
from pipeline.errors import StoreError
from pipeline.features import ArraySpec
from pipeline.features.shards import VALID
from pipeline.ids import Ids
from pipeline.languages import language_code


class Plan:
    """Ids in the order of the index, cut into shards.

    Attributes:
        ids: every id that the view keeps, once each.
        shard_rows: rows of a whole shard; the last may hold fewer.
    """

    def __init__(self, ids: Sequence[str], shard_rows: int) -> None:
        self.ids, self.shard_rows = Ids.of(ids), shard_rows

    @property
    def shard_count(self) -> int:
        """How many shards."""
        return -(-len(self.ids) // self.shard_rows)

    def shard(self, number: int) -> tuple[str, ...]:
        """The ids of one shard."""
        return tuple(self.ids[number * self.shard_rows : (number + 1) * self.shard_rows])

    def stored_bytes(self, specs: Sequence[ArraySpec]) -> int:
        """Size of the whole store on disk in bytes."""
        return sum(spec.stored_bytes(len(self.ids), self.shard_rows) for spec in (*specs, VALID))


def image_plan(index: Path, shard_rows: int) -> Plan:
    """All images of an index."""
    pieces = read_pieces(index / "images.parquet", ["image_id"])
    return Plan(Ids.joined(piece.column("image_id") for piece in pieces), shard_rows)


def further_plan(index: Path, view: FurtherView, shard_rows: int) -> Plan:
    """The samples of an index that a view of a further modality has as rows.

    Raises:
        DataError: the index has none.
    """
    return Plan(rows_of(view.modality).ids(index, view), shard_rows)


def text_plan(index: Path, languages: Sequence[str], shard_rows: int) -> tuple[Plan, StoredTexts]:
    """All texts of an index in the given languages (all if none are given), and the string of each id.

    A language counts in any form of its code: "EN" and "en-US" are those in "en".
    """
    wanted = {*languages, *map(language_code, languages)}
    found, texts = [], []
    for piece in read_pieces(index / "texts.parquet", ["text_id", "text", "language"]):
        if languages:
            piece = piece.filter(pa.array(_in(piece.column("language"), wanted)))
        found.append(Ids.of(piece.column("text_id")))
        texts.append(piece.column("text"))
    ids = Ids.joined(found)
    strings = StoredTexts(ids, texts, ids.firsts())
    return Plan(strings.ids, shard_rows), strings


def _in(column: pa.ChunkedArray, wanted: set[str | None]) -> np.ndarray:
    return np.array([value in wanted for value in column.to_pylist()], dtype=bool)


def require_space(needed: int, folder: Path) -> None:
    """Check that `needed` bytes fit on the file system of `folder`.

    Raises:
        StoreError: they do not; the message has both figures.
    """
    existing = folder
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise StoreError(
            f"Encoding will write {needed / 1e9:.2f} GB, but only {free / 1e9:.2f} GB are free at {existing}. "
            "Free some space, choose a smaller tier (`tier: cls` or a smaller `grid`) or fewer samples."
        )
