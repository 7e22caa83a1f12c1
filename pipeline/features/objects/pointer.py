"""A remote store on this machine: a folder with its metadata and `remote.json`, which names where its shards are.

The manifest among the metadata has the checksum of every shard, so such a folder stands for all bytes of the store. It
is opened like any other; shards are fetched when rows of them are read.
"""

import json
import os
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import xxhash

from pipeline.errors import RemoteError, StoreError
from pipeline.features.fingerprint import require_format, require_same
from pipeline.features.layout import fsync_folder
from pipeline.features.manifest import MANIFEST, FileRecord, Manifest, checksum, parse_manifest, read_manifest
from pipeline.features.objects.bucket import Bucket
from pipeline.features.objects.cache import objects_folder
from pipeline.features.replace import remove, replace_folder
from pipeline.features.sealed import seal, unseal
from pipeline.object_url import object_url

POINTER = "remote.json"
_GROUP = "zarr.json"
_THREADS = 8
_KEPT = 30 * 86_400  # seconds
_READS = 3  # of metadata whose checksum is wrong: bytes may have changed on the way


def pointed(folder: Path) -> str | None:
    """The address that a folder stands for; None for a store whose shards lie in it.

    Raises:
        StoreError: its remote.json is damaged.
    """
    try:
        content = (folder / POINTER).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return object_url(unseal(content)["url"])
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{folder / POINTER} is damaged. Write it again with: dvc repro --force --single-item, and the stage of "
            "this store."
        ) from error


def fetched(where: str | Path, expect: dict[str, Any] | None = None) -> Path:
    """The folder with the metadata of a remote store, downloaded unless it is here already.

    The manifest comes first, then the fingerprint, then the rest of the metadata; no shard is touched.

    Args:
        expect: a fingerprint (`Fingerprint.as_dict`) that the store must have.

    Raises:
        StoreError: there is no store, or it is damaged or of another format.
        RemoteError: the object store cannot be reached or refuses.
        FingerprintMismatch: it holds other features; nothing but its manifest and its attributes has been read.
    """
    bucket = Bucket(where)
    content = manifest_content(bucket)
    if content is None:
        raise StoreError(
            f"No feature store at {bucket.url}: it has no {MANIFEST}, which is written last. Push one there with: "
            f"python -m pipeline.store push STORE {bucket.url}"
        )
    manifest = parse_manifest(content, bucket.url)
    # The address decides the place too: messages and DVC's groups go by the last parts of a store's path.
    parts = bucket.url.split("://", 1)[1].split("/")
    place = xxhash.xxh3_128_hexdigest(bucket.url.encode("utf-8") + content)
    root = objects_folder() / "stores" / place
    folder = root / "/".join(parts[-2:])
    if not _intact(folder, content, manifest):
        _forget_old(root.parent)
        remove(folder)
        _download(bucket, folder, content, manifest, expect)
    os.utime(root)
    if expect is not None:
        require_same(_fingerprint((folder / _GROUP).read_bytes(), bucket.url), expect, bucket.url)
    return folder


def _forget_old(stores: Path) -> None:
    """Remove the metadata of stores that nobody has opened for a month."""
    for place in stores.glob("*"):
        with suppress(OSError):
            if place.stat().st_mtime < time.time() - _KEPT:
                remove(place)


def manifest_content(bucket: Bucket) -> bytes | None:
    """The manifest at an address, damaged perhaps; None if there is none."""

    def whole(content: bytes) -> bool:
        try:
            unseal(content)
        except ValueError:
            return False
        return True

    return bucket.get(MANIFEST, whole)


def _intact(folder: Path, content: bytes, manifest: Manifest) -> bool:
    try:
        return (
            (folder / MANIFEST).read_bytes() == content
            and pointed(folder) is not None
            and all(checksum(folder / name) == record.xxh3_128 for name, record in metadata_files(manifest).items())
        )
    except (OSError, StoreError):
        return False


def metadata_files(manifest: Manifest) -> dict[str, FileRecord]:
    """The files of a store that are no shards, but for the manifest itself."""
    return {name: record for name, record in manifest.files.items() if record.shard is None}


def _download(bucket: Bucket, folder: Path, content: bytes, manifest: Manifest, expect: dict[str, Any] | None) -> None:
    files = metadata_files(manifest)
    if _GROUP not in files:
        raise StoreError(f"{bucket.url} is not a feature store of this project: its manifest lists no {_GROUP}.")
    attributes = _object(bucket, _GROUP, files[_GROUP])
    fingerprint = _fingerprint(attributes, bucket.url)
    require_format(fingerprint, bucket.url)
    if expect is not None:
        require_same(fingerprint, expect, bucket.url)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".", suffix=".partial", dir=folder.parent))
    partial.chmod(0o755)
    try:
        names = [name for name in files if name != _GROUP]
        for name in [_GROUP, *names]:
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
        (partial / _GROUP).write_bytes(attributes)
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="metadata") as pool:
            for _ in pool.map(lambda name: (partial / name).write_bytes(_object(bucket, name, files[name])), names):
                pass
        (partial / MANIFEST).write_bytes(content)
        write_pointer(partial, bucket.url)
        replace_folder(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _object(bucket: Bucket, name: str, record: FileRecord) -> bytes:
    """The content of a file of metadata, as the manifest has it."""
    for _ in range(_READS):
        content = b"".join(bucket.pieces(name, record.bytes))
        if xxhash.xxh3_128_hexdigest(content) == record.xxh3_128:
            break
    else:
        raise RemoteError(
            f"{bucket.url}/{name} differs from what its manifest says: expected XXH3-128 {record.xxh3_128}. "
            f"Repair the store with: python -m pipeline.store repair {bucket.url} --source STORE"
        )
    return content


def _fingerprint(attributes: bytes, url: str) -> dict[str, Any]:
    try:
        fingerprint: dict[str, Any] = json.loads(attributes)["attributes"]["fingerprint"]
        return fingerprint
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{url} is not a feature store of this project ({type(error).__name__}: {error}).") from error


def write_pointer(folder: Path, url: str) -> None:
    """Write the file that makes a folder of metadata stand for the store at an address."""
    (folder / POINTER).write_bytes(seal({"url": url}))


def point(out: Path, url: str) -> None:
    """Put the metadata of the store at `url` in the place `out`, whole or not at all; errors as `fetched`."""
    source = fetched(url)
    partial = out.with_name(f".{out.name}.partial")
    remove(partial)
    partial.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, partial)
    replace_folder(partial, out)
    fsync_folder(out.parent)


def shard_records(folder: Path) -> dict[str, FileRecord]:
    """The shard files of the store at `folder`, by path inside the store.

    Raises:
        StoreError: it has no manifest, or a damaged one.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        raise StoreError(f"{folder} has no {MANIFEST}, without which the shards of a remote store are not read.")
    return {name: record for name, record in manifest.files.items() if record.shard is not None}
