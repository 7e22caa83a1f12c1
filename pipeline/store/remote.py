"""Repairs a store on an object store: damaged and missing objects are sent again, from where their bytes still are."""

import json
import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import xxhash

from pipeline.errors import NewerStore, StoreError
from pipeline.features.layout import recorded_shard_path
from pipeline.features.manifest import MANIFEST, FileRecord, Manifest, parse_manifest, read_manifest
from pipeline.features.objects.bucket import Bucket
from pipeline.features.objects.cache import shard_cache
from pipeline.features.objects.check import verify_listed
from pipeline.features.objects.pointer import fetched, manifest_content, pointed
from pipeline.features.scratch import scratch_folder
from pipeline.features.verify import Damage, state
from pipeline.object_url import is_object_url, object_url

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Resent:
    """What a repair of a remote store did.

    Attributes:
        damages: what was wrong.
        sent: the objects that were written again.
        foreign: objects that are none of the store's, which were left alone.
    """

    url: str
    damages: tuple[Damage, ...]
    sent: tuple[str, ...]
    foreign: tuple[str, ...]


def repair_remote(where: str | Path, source: Path | None = None) -> Resent:
    """Send damaged and missing objects of a remote store again.

    Their bytes are looked for, by checksum, in `source`, in the local cache of shards and in scratch.

    Args:
        where: an address, or the folder that stands for one.
        source: a folder with the same store, or a part of it.

    Raises:
        StoreError: there is no such store, `source` is another one, or bytes are found nowhere; what could be sent has
            been sent by then.
        RemoteError: the object store cannot be reached or refuses.
    """
    pointer = None if is_object_url(where) else Path(where)
    url = object_url(where) if pointer is None else pointed(pointer)
    if url is None:
        raise StoreError(f"{where} is neither an address nor a folder that stands for one.")
    bucket = Bucket(url)
    there = _manifest_at(bucket)
    folders = [folder for folder in (source, pointer) if folder is not None]
    here = next((content for content in map(_manifest_in, folders) if content is not None), None)
    if source is not None and there is not None and here != there:
        raise StoreError(f"{source} is another store than {url}: their manifests differ. Nothing was changed.")
    content = there or here
    if content is None:
        raise StoreError(
            f"{url} has no manifest that can be read, so nothing tells what should be there. Give a folder with the "
            f"same store: python -m pipeline.store repair {url} --source STORE"
        )
    manifest = parse_manifest(content, url)
    damages = verify_listed(bucket, manifest).damages
    if there is not None:
        with suppress(StoreError):  # metadata that was fetched before its damage is here still
            folders.append(fetched(url))
    wanted = {damage.path: manifest.files[damage.path] for damage in damages if damage.kind != "foreign"}
    sent, lost = [], []
    for name, record in wanted.items():
        places = _places(name, record, manifest, folders)
        found = next((file for file in places if state(file, record) is None), None)
        if found is None:
            lost.append(name)
            continue
        bucket.put(name, found, record.xxh3_128)
        log.info("%s/%s: sent again from %s", url, name, found)
        sent.append(name)
    if lost:
        raise StoreError(
            f"{url}: {len(lost)} of {len(wanted)} damaged objects are found nowhere here, the first {lost[0]}; "
            f"{len(sent)} were sent again. Give a folder that has the store: python -m pipeline.store repair {url} "
            "--source STORE"
        )
    if there is None:
        bucket.put(MANIFEST, content, xxhash.xxh3_128_hexdigest(content))
        sent.append(MANIFEST)
        damages = (Damage(MANIFEST, "changed"), *damages)
    foreign = tuple(damage.path for damage in damages if damage.kind == "foreign")
    return Resent(url, tuple(d for d in damages if d.kind != "foreign"), tuple(sent), foreign)


def _manifest_in(folder: Path) -> bytes | None:
    """The manifest of a folder; None if there is none, or it is damaged."""
    with suppress(StoreError):
        return None if read_manifest(folder) is None else (folder / MANIFEST).read_bytes()
    return None


def _manifest_at(bucket: Bucket) -> bytes | None:
    """The manifest at an address; None if there is none, or it is damaged."""
    content = manifest_content(bucket)
    if content is None:
        return None
    try:
        parse_manifest(content, bucket.url)
    except NewerStore:
        raise
    except StoreError as error:
        log.warning("%s", error)
        return None
    return content


def _places(name: str, record: FileRecord, manifest: Manifest, folders: list[Path]) -> Iterator[Path]:
    """Where the bytes of a file may be."""
    for folder in folders:
        yield folder / name
    if record.shard is None:
        return
    yield shard_cache().path(record)
    for folder in folders:  # their attributes tell which shard of scratch it is
        try:
            yield scratch_folder(manifest.fingerprint) / _in_scratch(folder, name, record.shard)
        except (OSError, ValueError, KeyError, TypeError):
            continue


def _in_scratch(folder: Path, name: str, number: int) -> Path:
    """A shard file's path inside its scratch folder."""

    def metadata_of(inside: str) -> dict[str, object]:
        metadata: dict[str, object] = json.loads((folder / inside).read_text(encoding="utf-8"))
        return metadata

    shard = json.loads((folder / "zarr.json").read_text(encoding="utf-8"))["attributes"]["shards"][number]
    for array in shard["xxh3_128"]:
        if recorded_shard_path(metadata_of, array, number) == name:
            return Path(str(shard["key"])) / str(array)
    raise KeyError(name)
