"""The shard files of a remote store, fetched into the cache when they are read, and those that follow ahead of time."""

import logging
import os
import threading
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from pipeline.errors import PermafrostError
from pipeline.features.manifest import FileRecord
from pipeline.features.objects.bucket import ATTEMPTS, Bucket
from pipeline.features.objects.cache import shard_cache
from pipeline.features.objects.pointer import pointed, shard_records

log = logging.getLogger(__name__)
_THREADS = 4
_SHARE = 4  # of the cache, as a divisor, that may be on its way ahead of its use


class RemoteShards:
    """The shards of one store.

    Args:
        folder: of its metadata.
        url: of its objects.

    Attributes:
        url: as above.
        records: by path inside the store.
    """

    def __init__(self, folder: Path, url: str) -> None:
        self.url, self.records = url, shard_records(folder)
        self._cache = shard_cache()
        self._bucket: Bucket | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._coming: dict[str, Future[None]] = {}  # what is fetched ahead, by path

    @property
    def bytes(self) -> int:
        """Of all shards together."""
        return sum(record.bytes for record in self.records.values())

    @classmethod
    def of(cls, folder: Path) -> "RemoteShards | None":
        """Those of the store that `folder` stands for; None if its shards lie in it.

        Raises:
            StoreError: its remote.json or its manifest is damaged.
        """
        url = pointed(folder)
        return None if url is None else cls(folder, url)

    def opened(self, name: str) -> int:
        """A descriptor of a shard file with its whole content, to be closed by the caller.

        Raises:
            RemoteError: it cannot be fetched, or is not what the manifest says.
            StoreError: it is larger than the cache.
        """
        coming = self._coming.get(name)
        if coming is not None:
            coming.exception()  # waits; a failure is met again below, and tried for longer
        return self._open(name, ATTEMPTS)

    def ahead(self, names: Iterable[str]) -> None:
        """Begin to fetch shards that will be read soon, as many as a part of the cache holds; never fails."""
        for name in names:
            with self._lock:
                under_way = sum(self.records[other].bytes for other in (*self._coming, name))
                room = under_way <= self._cache.limit // _SHARE
                if not room or name in self._coming or self._cache.holds(self.records[name]):
                    continue
                if self._pool is None:
                    self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="shards-ahead")
                self._coming[name] = self._pool.submit(self._fetch, name)

    def _fetch(self, name: str) -> None:
        try:
            os.close(
                self._open(name, attempts=1)
            )  # a failure is met again, and tried for longer, by who reads the shard
        except (PermafrostError, OSError) as error:
            log.debug("not fetched ahead: %s", error)
        finally:
            with self._lock:
                self._coming.pop(name, None)

    def _open(self, name: str, attempts: int) -> int:
        record: FileRecord = self.records[name]

        def download(descriptor: int) -> None:
            if self._bucket is None:
                self._bucket = Bucket(self.url)
            self._bucket.read_into(name, record.bytes, descriptor, attempts)

        return self._cache.opened(record, download, f"{self.url}/{name}")
