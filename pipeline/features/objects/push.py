"""Publishing a finished store at an address: shards first, the manifest last, so that no partial store is ever seen."""

import logging
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from pipeline.errors import FingerprintMismatch, RemoteError, StoreError
from pipeline.features.manifest import MANIFEST, FileRecord, Manifest, checksum, parse_manifest, read_manifest
from pipeline.features.objects.bucket import Bucket, Listed
from pipeline.features.objects.pointer import manifest_content, pointed
from pipeline.progress import tqdm
from pipeline.terminal import shown

log = logging.getLogger(__name__)
_GROUP = "zarr.json"
_THREADS = 4
_OF_A_STORE = re.compile(r"(zarr\.json|rows\.parquet|[\w-]+(/\d+)?/(zarr\.json|c(/\d+)+))")


@dataclass(frozen=True)
class Pushed:
    """What a push did.

    Attributes:
        url: where the store is.
        files, bytes: of the store.
        sent: how many files were sent; the others were there already.
    """

    url: str
    files: int
    bytes: int
    sent: int


def push(folder: Path, where: str | Path, *, replace: bool = False) -> Pushed:
    """Publish the store at `folder` at an address. What an earlier push of the same files has left there is kept.

    Readers see no store until all of it is there. With `replace`, they see none from the beginning of the push to its
    end, and those that have the old one open are told when they need a shard that is gone.

    Args:
        replace: another store may be there, and is removed.

    Raises:
        StoreError: there is no whole store at `folder`, or a file of it is damaged; another store is at the address, or
            objects that are of none.
        FingerprintMismatch: the store there holds other features.
        RemoteError: the object store cannot be reached or refuses, or another push writes there.
    """
    manifest, content = _local(folder)
    bucket = Bucket(where)
    there = manifest_content(bucket)
    if there is not None and there != content:
        _replaceable(bucket, there, manifest, replace)
        log.info("%s: the store there is removed", bucket.url)
        bucket.delete([MANIFEST, _GROUP])
        there = None
    listed = bucket.list()
    _clear(bucket, listed.keys() - manifest.files.keys() - {MANIFEST})
    sent = _send(bucket, folder, _waiting(bucket, manifest.files, listed))
    total = sum(record.bytes for record in manifest.files.values())
    _require_arrived(bucket, manifest, sent)
    if there is None:
        bucket.put(MANIFEST, content, xxhash.xxh3_128_hexdigest(content), create=True)
    return Pushed(bucket.url, len(manifest.files), total, len(sent))


def _local(folder: Path) -> tuple[Manifest, bytes]:
    if (url := pointed(folder)) is not None:
        raise StoreError(f"{folder} stands for the store at {url}, and has no shards of its own to push.")
    manifest = read_manifest(folder)
    if manifest is None:
        where = "is no feature store with a manifest" if folder.is_dir() else "is not there"
        raise StoreError(f"{folder} {where}. Encode it with: dvc repro; or: python -m pipeline.store repair {folder}")
    return manifest, (folder / MANIFEST).read_bytes()


def _replaceable(bucket: Bucket, there: bytes, manifest: Manifest, replace: bool) -> None:
    """Check that the store at an address may be removed for another one."""
    if replace:
        return
    try:
        same = parse_manifest(there, bucket.url).fingerprint == manifest.fingerprint
    except StoreError:
        same = True
    kind = StoreError if same else FingerprintMismatch
    holds = "another store of the same features (other rows, or damaged)" if same else "a store of other features"
    raise kind(
        f"{bucket.url} holds {holds}. Nothing was changed. Push to another address, or replace it with: "
        f"python -m pipeline.store push STORE {bucket.url} --replace"
    )


def _clear(bucket: Bucket, others: Iterable[str]) -> None:
    """Remove what earlier pushes have left.

    Raises:
        StoreError: an object is none of a store.
    """
    others = sorted(others)
    foreign = [name for name in others if not _OF_A_STORE.fullmatch(name)]
    if foreign:
        raise StoreError(
            f"{bucket.url} holds objects that belong to no store: {', '.join(foreign[:5])}. Nothing was removed. Give "
            "the store a prefix of its own."
        )
    bucket.delete(others)


def _waiting(bucket: Bucket, files: Mapping[str, FileRecord], listed: Mapping[str, Listed]) -> dict[str, FileRecord]:
    """The files that are not there yet, by their size and the checksum that was noted with them."""
    sized = [name for name, record in files.items() if name in listed and listed[name].bytes == record.bytes]
    with ThreadPoolExecutor(_THREADS) as pool:
        noted = dict(zip(sized, pool.map(bucket.digest, sized), strict=True))
    return {name: record for name, record in files.items() if noted.get(name) != record.xxh3_128}


def _send(bucket: Bucket, folder: Path, files: Mapping[str, FileRecord]) -> dict[str, str]:
    """Send files, the group's metadata last; returns their tags."""

    def send(name: str) -> str:
        record = files[name]
        path = folder / name
        if not path.is_file() or path.stat().st_size != record.bytes or checksum(path) != record.xxh3_128:
            raise StoreError(
                f"{path} is damaged, so the store is not published. Repair it with: python -m pipeline.store repair "
                f"{folder}"
            )
        tag = bucket.put(name, path, record.xxh3_128)
        progress.update(record.bytes)
        return tag

    names = sorted(files, key=lambda name: (name == _GROUP, files[name].shard is None, name))
    total = sum(record.bytes for record in files.values())
    early = [name for name in names if name != _GROUP]
    progress: tqdm[Any]
    with tqdm(total=total, desc=shown(bucket.url), unit="B", unit_scale=True, leave=False, mininterval=1.0) as progress:
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="push") as pool:
            waiting = {name: pool.submit(send, name) for name in early}
            try:
                tags = {name: future.result() for name, future in waiting.items()}
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        if _GROUP in files:
            tags[_GROUP] = send(_GROUP)
    return tags


def _require_arrived(bucket: Bucket, manifest: Manifest, sent: Mapping[str, str]) -> None:
    """Check by a new listing that all files of the store are there, as they were sent."""
    listed = bucket.list()
    for name, record in manifest.files.items():
        found = listed.get(name)
        other = found is not None and sent.get(name) and found.tag and found.tag != sent[name]
        if found is None or found.bytes != record.bytes or other:
            raise RemoteError(
                f"{bucket.url}/{name} is not what was sent: another process writes there. No store was published; wait "
                "for it, or choose another address."
            )
