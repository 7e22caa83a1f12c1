"""Checks a store wherever it lies: every object of a remote one is read and compared with its checksum."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import RemoteError, StoreError
from pipeline.features.manifest import MANIFEST, FileRecord, Manifest, parse_manifest, read_manifest
from pipeline.features.objects.bucket import Bucket, Listed
from pipeline.features.objects.pointer import POINTER, fetched, manifest_content, metadata_files, pointed
from pipeline.features.verify import Damage, Verified, state, verify, with_ids
from pipeline.object_url import is_object_url
from pipeline.progress import tqdm
from pipeline.terminal import shown

_THREADS = 4


def verify_anywhere(where: str | Path) -> Verified:
    """Read every file of the store at `where`: a folder, an address, or a folder that stands for one (then both).

    Raises:
        StoreError: there is no store, or its manifest cannot be read.
        RemoteError: the object store cannot be reached or refuses.
    """
    if is_object_url(where):
        return verify_remote(where)
    folder = Path(where)
    url = pointed(folder)
    return verify(folder) if url is None else _verify_pointer(folder, url)


def verify_remote(where: str | Path) -> Verified:
    """Read every object of the store at an address, in pieces, and compare its checksum; nothing is kept.

    Raises:
        StoreError: there is no store, or its manifest is damaged.
        RemoteError: the object store cannot be reached or refuses.
    """
    bucket = Bucket(where)
    return verify_listed(bucket, manifest_at(bucket))


def manifest_at(bucket: Bucket) -> Manifest:
    """The manifest of the store at an address.

    Raises:
        StoreError: there is no store, or its manifest is damaged.
    """
    content = manifest_content(bucket)
    if content is None:
        raise StoreError(
            f"No feature store at {bucket.url}: it has no {MANIFEST}, which is written last. Push one there with: "
            f"python -m pipeline.store push STORE {bucket.url}"
        )
    return parse_manifest(content, bucket.url)


def verify_listed(bucket: Bucket, manifest: Manifest) -> Verified:
    """The same for the store that a manifest describes, wherever the manifest itself lies."""
    expected = dict(manifest.files)
    listed = bucket.list()
    read = sum(record.bytes for name, record in expected.items() if _sized(listed.get(name), record))
    damages = []
    progress: tqdm[Any]
    with (
        ThreadPoolExecutor(_THREADS) as pool,
        tqdm(total=read, desc=shown(bucket.url), unit="B", unit_scale=True, leave=False, mininterval=1.0) as progress,
    ):
        states = pool.map(lambda one: _remote_state(bucket, listed.get(one[0]), *one), expected.items())
        for (name, record), kind in zip(expected.items(), states, strict=True):
            progress.update(record.bytes if _sized(listed.get(name), record) else 0)
            if kind is not None:
                damages.append(Damage(name, kind, record.shard, record.rows))
    damages += [Damage(name, "foreign") for name in listed.keys() - expected.keys() - {MANIFEST}]
    damages = sorted(_named(bucket, damages), key=lambda damage: damage.path)
    return Verified(len(expected), read, tuple(damages), True)


def _sized(found: Listed | None, record: FileRecord) -> bool:
    return found is not None and found.bytes == record.bytes


def _remote_state(
    bucket: Bucket, found: Listed | None, name: str, record: FileRecord
) -> Literal["changed", "missing"] | None:
    if found is None:
        return "missing"
    if found.bytes != record.bytes:
        return "changed"
    return None if bucket.checksum(name, record.bytes) == record.xxh3_128 else "changed"


def _named(bucket: Bucket, damages: list[Damage]) -> list[Damage]:
    """Add to damaged shards the ids that they hold, where the metadata can be fetched."""
    if all(damage.rows is None for damage in damages):
        return damages
    try:
        return with_ids(fetched(bucket.url), damages)
    except (StoreError, RemoteError):
        return damages


def _verify_pointer(folder: Path, url: str) -> Verified:
    """The metadata that is here, and every object at the address by the manifest that is here."""
    here = verify_metadata(folder)
    manifest = read_manifest(folder)
    assert manifest is not None
    bucket = Bucket(url)
    remote = verify_listed(bucket, manifest)
    damages = list(here.damages)
    if manifest_at(bucket) != manifest:
        damages.append(Damage(f"{url}/{MANIFEST}", "changed"))
    damages += [replace(damage, path=f"{url}/{damage.path}") for damage in remote.damages]
    return Verified(here.files + remote.files, here.bytes + remote.bytes, tuple(damages), True)


def verify_metadata(folder: Path) -> Verified:
    """Check what a folder that stands for an address holds itself.

    Raises:
        StoreError: its manifest is damaged or gone.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        raise StoreError(f"{folder} has no {MANIFEST}. Write it again with: python -m pipeline.store repair {folder}")
    files = metadata_files(manifest)
    states = {name: state(folder / name, record) for name, record in files.items()}
    damages = [Damage(name, kind) for name, kind in states.items() if kind is not None]
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    damages += [Damage(name, "foreign") for name in present - files.keys() - {MANIFEST, POINTER}]
    return Verified(len(files), sum(record.bytes for record in files.values()), tuple(damages), True)
