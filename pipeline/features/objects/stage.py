"""What the stage of a store with a `url` does besides encoding: it takes what is published there, or publishes."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.errors import StoreError
from pipeline.features.fingerprint import Fingerprint
from pipeline.features.manifest import MANIFEST
from pipeline.features.objects.bucket import Bucket
from pipeline.features.objects.pointer import point
from pipeline.features.objects.push import push
from pipeline.features.reader import FeatureStore
from pipeline.ids import Ids

log = logging.getLogger(__name__)


def take_published(out: Path, url: str, fingerprint: Fingerprint, ids: Sequence[str]) -> bool:
    """Make the folder `out` stand for the store at an address, if there is one; whether it does.

    Args:
        fingerprint, ids: the features and the rows, in order, that the store must have.

    Raises:
        FingerprintMismatch: a store of other features is there; nothing but its fingerprint has been read.
        StoreError: a store of other rows is there.
        RemoteError: the object store cannot be reached or refuses.
    """
    if Bucket(url).get(MANIFEST) is None:
        return False
    store = FeatureStore.open(url, expect=fingerprint.as_dict())
    if not _same(store.row_ids, Ids.of(ids)):
        raise StoreError(
            f"{store.source} holds {len(store)} rows, the index names {len(ids)}, and their ids are not the same in "
            "the same order: it was encoded from other data. A stage never changes a published store: give this one "
            "another `url` in params.yaml, or encode without `url` and push it with --replace."
        )
    point(out, store.source)
    log.info("%s: %d rows are published, nothing is encoded", store.source, len(store))
    return True


def publish_at(out: Path, url: str) -> None:
    """Push the store at `out` to an address, and make its folder stand for it; errors as `push`.

    Its shards stay in scratch until `python -m pipeline.store gc --yes`.
    """
    done = push(out, url)
    log.info("%s: published, %d of %d files sent, %.1f MB in all", done.url, done.sent, done.files, done.bytes / 1e6)
    point(out, done.url)


def _same(ids: Ids, others: Ids) -> bool:
    """Whether both are the same ids in the same order."""
    given, possible = others.like(ids)
    rows = np.arange(len(ids))
    return len(ids) == len(others) and bool(possible.all()) and bool(ids.same(rows, given, rows).all())
