"""The list of a store's files with their checksums, so that one changed bit anywhere can be found.

Shards are summed while they are written. Metadata (Zarr's JSON, the row index) is small and summed at the end. The list
itself is written in one canonical form with its own checksum, so that a changed bit in it is detected too.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import xxhash

from pipeline.errors import NewerStore, StoreError
from pipeline.features.sealed import seal, unseal

MANIFEST = "manifest.json"
SCHEMA = 1
_PIECE = 8 << 20


@dataclass(frozen=True)
class FileRecord:
    """What a file of a store should be.

    Attributes:
        bytes: its size.
        xxh3_128: its checksum in hex.
        shard: the number of the shard it belongs to, None for metadata.
        rows: the first row of that shard and the one after its last.
    """

    bytes: int
    xxh3_128: str
    shard: int | None = None
    rows: tuple[int, int] | None = None


@dataclass(frozen=True)
class Manifest:
    """All files of a store but the manifest.

    Attributes:
        fingerprint: digest of the features.
        files: by path inside the store.
    """

    fingerprint: str
    files: Mapping[str, FileRecord]


def checksum(path: Path) -> str:
    """XXH3-128 of a file, in hex."""
    running = xxhash.xxh3_128()
    with open(path, "rb") as file:
        while piece := file.read(_PIECE):
            running.update(piece)
    return running.hexdigest()


def write_manifest(folder: Path, fingerprint: str, shards: Mapping[str, FileRecord]) -> None:
    """Write the manifest of the store in `folder`; files that are not among `shards` are metadata and are summed here.

    Args:
        shards: the records of the shard files by path inside the store.
    """
    files = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        files[name] = shards.get(name) or FileRecord(path.stat().st_size, checksum(path))
    with open(folder / MANIFEST, "xb") as file:
        file.write(_encoded(Manifest(fingerprint, files)))
        file.flush()
        os.fsync(file.fileno())


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of the store in `folder`; None if it was written before there were manifests.

    Raises:
        StoreError: the manifest is damaged.
        NewerStore: it is intact, but of a schema that this version does not know.
    """
    try:
        content = (folder / MANIFEST).read_bytes()
    except FileNotFoundError:
        return None
    return parse_manifest(content, str(folder))


def parse_manifest(content: bytes, where: str) -> Manifest:
    """The manifest of the store at `where`, a folder or an address; errors as `read_manifest`."""
    try:
        stored: dict[str, Any] = unseal(content)
        _require_known(stored["schema"], where)
        files = {
            name: FileRecord(**(record | {"rows": record["rows"] and tuple(record["rows"])}))
            for name, record in stored["files"].items()
        }
        manifest = Manifest(stored["fingerprint"], files)
        intact = _encoded(manifest) == content
    except (ValueError, KeyError, TypeError, AttributeError):
        intact = False
    if not intact:
        raise StoreError(
            f"{where}/{MANIFEST} is damaged. Repair the store with: python -m pipeline.store repair {where}"
        )
    return manifest


def _require_known(schema: int, where: str) -> None:
    """Call this only on checksummed content: a single flipped bit can turn the current schema into a newer one."""
    if schema > SCHEMA:
        raise NewerStore(
            f"{where}/{MANIFEST} is of schema {schema}, but this version of Permafrost reads schema {SCHEMA}. The "
            "store was written by a newer Permafrost: update yours. Or write the store again with this version: "
            f"python -m pipeline.store repair {where}"
        )


def _encoded(manifest: Manifest) -> bytes:
    content = {
        "schema": SCHEMA,
        "fingerprint": manifest.fingerprint,
        "files": {name: asdict(record) for name, record in manifest.files.items()},
    }
    return seal(json.loads(json.dumps(content, sort_keys=True)))
