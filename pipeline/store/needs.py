"""Which shards of the scratch folder a store needs; for a damaged store rather too many than one too few."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import StoreError
from pipeline.features import FeatureStore
from pipeline.features.dvc_cache import CachedOutput
from pipeline.features.fingerprint import digest_of
from pipeline.features.manifest import read_manifest
from pipeline.features.objects.pointer import POINTER


@dataclass(frozen=True)
class Needs:
    """What a store needs from the scratch folder.

    Attributes:
        folder: of the store.
        fingerprints: whose features it holds, as the folders in scratch are named; empty if none of its files tells.
        keys: of its shards; None if its list of them cannot be trusted, so that it needs all of its fingerprint.
    """

    folder: Path
    fingerprints: frozenset[str]
    keys: frozenset[str] | None = None

    def includes(self, fingerprint: str, key: str) -> bool:
        """Whether the shard `key` in the scratch folder `fingerprint` is needed."""
        return fingerprint in self.fingerprints and (self.keys is None or key in self.keys)


def needs_of(folder: Path) -> Needs:
    """What the store at `folder` needs; never fails."""
    try:
        store = FeatureStore.open(folder)
        if read_manifest(folder) is not None:  # without one nothing vouches for the keys in the attributes
            keys = frozenset(str(shard["key"]) for shard in store.attributes["shards"])
            if (folder / POINTER).is_file():  # its shards lie on an object store
                keys = frozenset()
            return Needs(folder, frozenset([store.digest[:32]]), keys)
    except Exception:  # damaged files raise many errors, and none of them may cost the store its shards
        pass
    return Needs(folder, frozenset(digest[:32] for digest in _digests(folder)))


def needs_of_cached(folder: Path, cached: CachedOutput | None) -> Needs | None:
    """What the store that DVC last recorded at `folder` needs, by its copy in DVC's cache; None if that does not tell.

    A stage that runs has no output: DVC removes the old one first.
    """
    try:
        if cached is None or not (metadata := cached.files["zarr.json"]).intact():
            return None
        attributes = json.loads(metadata.path.read_bytes())["attributes"]
        keys = frozenset() if POINTER in cached.files else frozenset(str(one["key"]) for one in attributes["shards"])
        return Needs(folder, frozenset([str(attributes["fingerprint"]["digest"])[:32]]), keys)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _digests(folder: Path) -> Iterator[str]:
    """Digests that the metadata names and that agree with a checksum: a flipped bit must not name other features."""
    try:
        manifest = read_manifest(folder)
        if manifest is not None:
            yield manifest.fingerprint
    except (OSError, StoreError):
        pass
    try:
        fingerprint = json.loads((folder / "zarr.json").read_bytes())["attributes"]["fingerprint"]
        if digest_of(fingerprint["compared"]) == fingerprint["digest"]:
            yield str(fingerprint["digest"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
