"""Lists stores and the shards in the scratch folder."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.encoding.remembered import recall
from pipeline.errors import StoreError
from pipeline.features import FeatureStore
from pipeline.features.manifest import MANIFEST
from pipeline.features.shards import RECORD
from pipeline.object_url import is_object_url, object_url
from pipeline.store.needs import Needs
from pipeline.work_folder import work_folder

ROOT = Path("data/features")


@dataclass(frozen=True)
class Listed:
    """One store.

    Attributes:
        arrays: name, dtype and shape of each, e.g. `cls float16 (684, 4, 384)`.
        bytes: on disk; a file with several names is counted once.
        summed: whether its metadata was compared with a manifest when it was opened; its shards were not read.
        problem: why it cannot be opened, empty if it can.
        url: where its shards are, empty if they lie in the folder.
    """

    folder: Path
    rows: int = 0
    failed: int = 0
    shards: int = 0
    bytes: int = 0
    encoder: str = ""
    digest: str = ""
    arrays: tuple[str, ...] = ()
    summed: bool = False
    problem: str = ""
    url: str = ""


def stores(root: Path = ROOT) -> Iterator[Path]:
    """Folders of all stores below `root`, <group>/<view>/<dataset>, in order; damaged ones too, whatever they lack."""
    for folder in sorted(root.glob("*/*/*")):
        killed = folder.name.startswith(".") and folder.name.endswith(".partial")
        if not killed and folder.is_dir() and any(path.is_file() for path in folder.rglob("*")):
            yield folder


def describe(folder: Path) -> Listed:
    """What the store at `folder`, or at an address, holds; a damaged one is described by its problem."""
    size = 0 if is_object_url(folder) else bytes_of(folder.rglob("*"))
    url = object_url(folder) if is_object_url(folder) else ""
    try:
        store = FeatureStore.open(folder)
        if store.remote is not None:
            url, size = store.source, store.remote.bytes
        arrays = tuple(f"{name} {store.array(name).stored_dtype} {store.shape(name)}" for name in store.names)
    except StoreError as error:
        return Listed(folder, bytes=size, problem=str(error), url=url)
    described = store.fingerprint.get("described", {})
    return Listed(
        folder,
        rows=len(store),
        failed=int((~store.valid).sum()),
        shards=len(store.attributes["shards"]),
        bytes=size,
        encoder=str(described.get("model", "unknown")),
        digest=store.digest[:12],
        arrays=arrays,
        summed=(store.folder / MANIFEST).is_file(),
        url=url,
    )


def bytes_of(paths: Iterable[Path]) -> int:
    """Bytes of files, each inode once."""
    sizes = {(s.st_dev, s.st_ino): s.st_size for s in (p.stat() for p in paths if p.is_file())}
    return sum(sizes.values())


@dataclass(frozen=True)
class Scratch:
    """A finished shard in the scratch folder.

    Attributes:
        rows: how many it holds; 0 if its record cannot be read.
        alone: bytes of its files that have no other name, so that scratch alone holds them.
        links: names of its least linked array.
    """

    folder: Path
    key: str
    fingerprint: str
    rows: int
    bytes: int
    alone: int
    links: int


def scratch_shards() -> list[Scratch]:
    """All finished shards in the scratch folder."""
    shards = []
    for record in sorted((work_folder() / "scratch").glob(f"*/*/{RECORD}")):
        try:
            content: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
            states, rows = [(record.parent / name).stat() for name in content["files"]], int(content["rows"])
        except (OSError, ValueError, KeyError, TypeError):
            states, rows = [], 0
        shards.append(
            Scratch(
                record.parent,
                record.parent.name,
                record.parent.parent.name,
                rows,
                sum(state.st_size for state in states),
                sum(state.st_size for state in states if state.st_nlink == 1),
                min((state.st_nlink for state in states), default=1),
            )
        )
    return shards


@dataclass(frozen=True)
class Unnamed:
    """Features that scratch holds and no store of the workspace names.

    Attributes:
        fingerprint: the name of their folder in scratch, the first 32 digits of the digest.
        encoder: the model, `unknown` if scratch does not tell.
    """

    fingerprint: str
    encoder: str
    shards: int
    rows: int
    bytes: int


def unnamed(needs: Iterable[Needs], shards: Iterable[Scratch]) -> list[Unnamed]:
    """The fingerprints among `shards` that none of `needs` names, in order."""
    named = {fingerprint for need in needs for fingerprint in need.fingerprints}
    groups: dict[str, list[Scratch]] = {}
    for shard in shards:
        if shard.fingerprint not in named:
            groups.setdefault(shard.fingerprint, []).append(shard)
    return [
        Unnamed(
            fingerprint,
            str((recall(held[0].folder.parent) or {}).get("encoder") or "unknown"),
            len(held),
            sum(shard.rows for shard in held),
            sum(shard.bytes for shard in held),
        )
        for fingerprint, held in sorted(groups.items())
    ]
