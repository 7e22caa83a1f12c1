"""What will be encoded, in which order and shards, and how large it will be."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.datasets.tables import read_table
from pipeline.errors import StoreError
from pipeline.features import ArraySpec
from pipeline.features.shards import VALID
from pipeline.languages import language_code


@dataclass(frozen=True)
class Plan:
    """Ids in the order of the index, cut into shards.

    Attributes:
        ids: every id that the view keeps, once each.
        shard_rows: rows of a whole shard; the last may hold fewer.
    """

    ids: tuple[str, ...]
    shard_rows: int

    @property
    def shard_count(self) -> int:
        """How many shards."""
        return -(-len(self.ids) // self.shard_rows)

    def shard(self, number: int) -> tuple[str, ...]:
        """The ids of one shard."""
        return self.ids[number * self.shard_rows : (number + 1) * self.shard_rows]

    def stored_bytes(self, specs: Sequence[ArraySpec]) -> int:
        """Size of the whole store on disk in bytes."""
        return sum(spec.stored_bytes(len(self.ids), self.shard_rows) for spec in (*specs, VALID))


def image_plan(index: Path, shard_rows: int) -> Plan:
    """All images of an index."""
    ids = read_table(index / "images.parquet", ["image_id"]).column("image_id").to_pylist()
    return Plan(tuple(ids), shard_rows)


def text_plan(index: Path, languages: Sequence[str], shard_rows: int) -> tuple[Plan, dict[str, str]]:
    """All texts of an index in the given languages (all if none are given), and the string of each id.

    A language counts in any form of its code: "EN" and "en-US" are those in "en".
    """
    wanted = {*languages, *map(language_code, languages)}
    table = read_table(index / "texts.parquet", ["text_id", "text", "language"])
    strings: dict[str, str] = {}
    for identifier, text, language in zip(*(column.to_pylist() for column in table.columns), strict=True):
        if not languages or language in wanted:
            strings.setdefault(identifier, text)
    return Plan(tuple(strings), shard_rows), strings


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
