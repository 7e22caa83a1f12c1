"""Checks that every file of a store is still what was written."""

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import NewerStore, StoreError
from pipeline.features.layout import recorded_shard_path
from pipeline.features.manifest import MANIFEST, FileRecord, checksum, read_manifest
from pipeline.features.reader import ROWS_FILE
from pipeline.parquet import read_parquet
from pipeline.progress import tqdm
from pipeline.terminal import shown

_THREADS = min(4, os.cpu_count() or 1)  # the checksum releases Python's lock


@dataclass(frozen=True)
class Damage:
    """A damaged, missing or foreign file.

    Attributes:
        path: inside the store.
        kind: `changed`, `missing`, or `foreign` for a file that does not belong to the store.
        shard: number of the shard, None for metadata and foreign files.
        rows: the first row of the shard and the one after its last, None where `shard` is.
        ids: of its first and its last row; None where `rows` is, or if the row index cannot be trusted.
    """

    path: str
    kind: Literal["changed", "missing", "foreign"]
    shard: int | None = None
    rows: tuple[int, int] | None = None
    ids: tuple[str, str] | None = None

    def __str__(self) -> str:
        text = f"{self.path}: {self.kind}"
        if self.rows is not None:
            text += f" (shard {self.shard}, rows {self.rows[0]} to {self.rows[1] - 1})"
            if self.ids is not None:
                text += f", {self.rows[1] - self.rows[0]} ids: {self.ids[0]} to {self.ids[1]}"
        return text


@dataclass(frozen=True)
class Verified:
    """What a check of a store found.

    Attributes:
        files, bytes: how much was read.
        damages: what is wrong, in the order of the paths; empty if the store is intact.
        summed: False if the store has no manifest, so that only its shards could be checked.
    """

    files: int
    bytes: int
    damages: tuple[Damage, ...]
    summed: bool

    @property
    def intact(self) -> bool:
        """Whether every file is what was written."""
        return not self.damages


def verify(folder: Path) -> Verified:
    """Read every file of the store at `folder` and compare its checksum.

    Raises:
        StoreError: there is no store, or neither its manifest nor its attributes can be read.
        NewerStore: its manifest is of a newer schema.
    """
    if not folder.is_dir():
        raise StoreError(f"No feature store at {folder}. Encode it with: dvc repro")
    damages, summed = [], True
    try:
        manifest = read_manifest(folder)
    except NewerStore:
        raise
    except StoreError:
        damages.append(Damage(MANIFEST, "changed"))
        manifest = None
    if manifest is not None:
        expected = dict(manifest.files)
    else:
        summed = bool(damages)
        expected = dict(_shards_of_attributes(folder))
    present = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} - {MANIFEST}
    read = sum((folder / name).stat().st_size for name in expected if name in present)
    with (
        ThreadPoolExecutor(_THREADS) as pool,
        tqdm(
            total=read, desc=shown(folder.as_posix()), unit="B", unit_scale=True, leave=False, mininterval=1.0
        ) as progress,
    ):
        for (name, record), kind in zip(
            expected.items(), pool.map(lambda item: state(folder / item[0], item[1]), expected.items()), strict=True
        ):
            progress.update(record.bytes if kind != "missing" else 0)
            if kind is not None:
                damages.append(Damage(name, kind, record.shard, record.rows))
    if manifest is not None:
        damages += [Damage(name, "foreign") for name in present - set(expected)]
    damages = sorted(with_ids(folder, damages), key=lambda damage: damage.path)
    return Verified(len(expected), read, tuple(damages), summed)


def with_ids(folder: Path, damages: list[Damage]) -> list[Damage]:
    """Add to damaged shards the ids they hold, unless the row index is itself damaged."""
    if all(damage.rows is None for damage in damages) or any(damage.path == ROWS_FILE for damage in damages):
        return damages
    try:
        ids: list[str] = read_parquet(folder / ROWS_FILE, ["id"]).column("id").to_pylist()
        return [
            d if d.rows is None else replace(d, ids=(str(ids[d.rows[0]]), str(ids[d.rows[1] - 1]))) for d in damages
        ]
    except Exception:  # without a manifest the file is unchecked, and pyarrow raises many errors for a damaged one
        return damages


def state(path: Path, record: FileRecord) -> Literal["changed", "missing"] | None:
    """What is wrong with a file of a store; None if nothing is."""
    try:
        if path.stat().st_size != record.bytes:
            return "changed"
        return None if checksum(path) == record.xxh3_128 else "changed"
    except FileNotFoundError:
        return "missing"


def _shards_of_attributes(folder: Path) -> Iterator[tuple[str, FileRecord]]:
    """Shard files as the attributes of the group list them, for stores whose manifest is missing or damaged.

    Raises:
        StoreError: the attributes cannot be read either.
    """

    def metadata_of(inside: str) -> dict[str, Any]:
        metadata: dict[str, Any] = json.loads((folder / inside).read_text(encoding="utf-8"))
        return metadata

    try:
        attributes = metadata_of("zarr.json")["attributes"]
        start = 0
        for number, shard in enumerate(attributes["shards"]):
            rows = (start, start + shard["rows"])
            start = rows[1]
            for name, expected in shard["xxh3_128"].items():
                path = recorded_shard_path(metadata_of, name, number)
                size = (folder / path).stat().st_size if (folder / path).is_file() else 0
                yield path, FileRecord(size, expected, number, rows)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"Neither the manifest nor the attributes of {folder} can be read ({type(error).__name__}: {error}). "
            "Remove the folder and run: dvc repro"
        ) from error
