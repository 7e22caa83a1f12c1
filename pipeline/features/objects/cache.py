"""Files of object stores kept on this machine, by their content, within a number of bytes.

A file's name is its checksum and its size, so that equal shards of any stores are kept once and never mistaken. The one
used longest ago goes first. Whoever downloads reserves the bytes first, under a lock, so that processes which share
the folder stay within the bound together; a file that is being read may lose its name, and its reader goes on.
"""

import fcntl
import logging
import mmap
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import xxhash

from pipeline.errors import RemoteError, StoreError
from pipeline.features.manifest import FileRecord
from pipeline.features.scratch import explain_full_disk
from pipeline.plain_files import open_plain
from pipeline.work_folder import work_folder

log = logging.getLogger(__name__)
FOLDER_VARIABLE = "PERMAFROST_OBJECT_CACHE"
LIMIT_VARIABLE = "PERMAFROST_OBJECT_CACHE_MB"
_LIMIT_MB = 10_000
_PARTIAL = ".partial"
_DOWNLOADS = 3  # of an object whose checksum is wrong: bytes may have changed on the way
_WAIT, _LONGEST_WAIT = 0.002, 0.05  # seconds between looks at what another process downloads
_Identity = tuple[int, int, int]


def objects_folder() -> Path:
    """$PERMAFROST_OBJECT_CACHE, else a folder beside scratch."""
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named).resolve() if named else work_folder() / "objects"


def shard_cache() -> "ShardCache":
    """The cache of this machine, as the environment sets it.

    Raises:
        StoreError: the number of megabytes is none.
    """
    given = os.environ.get(LIMIT_VARIABLE, "")
    try:
        megabytes = float(given) if given else float(_LIMIT_MB)
    except ValueError:
        megabytes = 0.0
    if not 0 < megabytes < 1e12:
        raise StoreError(f"{LIMIT_VARIABLE} should be megabytes above 0, found {given!r}.")
    return ShardCache(objects_folder() / "shards", int(megabytes * 1e6))


class ShardCache:
    """A folder of downloaded files, at most `limit` bytes of them.

    Args:
        folder: made if there is none; any number of processes may share it, on one machine.
        limit: bytes, with those that are being downloaded.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder, limit
        self._trusted: set[_Identity] = set()  # files whose checksum this process has seen to be right

    def path(self, record: FileRecord) -> Path:
        """Where a file is, if it is here."""
        return self.folder / f"{record.xxh3_128}-{record.bytes}"

    def holds(self, record: FileRecord) -> bool:
        """Whether a file seems to be here."""
        return self.path(record).is_file()

    def opened(self, record: FileRecord, download: Callable[[int], None], where: str) -> int:
        """A descriptor of the file, which is downloaded if it is not here; the caller closes it.

        What another process or thread is downloading is waited for.

        Args:
            download: writes the whole file into a descriptor.
            where: the object, for messages.

        Raises:
            RemoteError: its content is not what the record says; and as `download`.
            StoreError: the file is larger than the cache may be, or the disk is full.
        """
        if record.bytes > self.limit:
            raise StoreError(
                f"{where} has {record.bytes / 1e6:.1f} MB, but {self.folder} may hold {self.limit / 1e6:.1f} MB: raise "
                f"{LIMIT_VARIABLE}."
            )
        wait = _WAIT
        while True:
            held = self._held(record)
            if held is not None:
                return held
            with explain_full_disk():
                claimed = self._claimed(record)
                if claimed is not None:
                    return self._downloaded(record, download, where, *claimed)
            time.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT)

    def _held(self, record: FileRecord) -> int | None:
        """A descriptor of an intact file; None if it is not here. One that was damaged on the disk is removed."""
        path = self.path(record)
        try:
            descriptor = open_plain(path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        status = os.fstat(descriptor)
        identity = (status.st_dev, status.st_ino, status.st_mtime_ns)
        if status.st_size == record.bytes and (
            identity in self._trusted or _checksum(descriptor, record.bytes) == record.xxh3_128
        ):
            self._trusted.add(identity)
            with suppress(OSError):  # another user's file may be read all the same
                os.utime(path, ns=(time.time_ns(), status.st_mtime_ns))  # by their time of use they are removed
            return descriptor
        os.close(descriptor)
        log.warning("%s is damaged on this disk: it is downloaded again", path)
        path.unlink(missing_ok=True)
        return None

    def _downloaded(
        self, record: FileRecord, download: Callable[[int], None], where: str, descriptor: int, partial: Path
    ) -> int:
        try:
            for _ in range(_DOWNLOADS):
                download(descriptor)
                found = _checksum(descriptor, record.bytes)
                if found == record.xxh3_128:
                    break
                log.warning("%s is not what it should be, reading it again", where)
            else:
                raise RemoteError(
                    f"{where} is damaged, or the store was replaced after it was opened: expected XXH3-128 "
                    f"{record.xxh3_128}, found {found}. Open the store again; if that does not help, name what is "
                    "damaged with `python -m pipeline.store verify`, and mend it with `repair`, given its address."
                )
            os.fchmod(descriptor, 0o444)
            status = os.fstat(descriptor)
            self._trusted.add((status.st_dev, status.st_ino, status.st_mtime_ns))
            os.replace(partial, self.path(record))
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            return descriptor
        except BaseException:
            partial.unlink(missing_ok=True)
            os.close(descriptor)
            raise

    def _claimed(self, record: FileRecord) -> tuple[int, Path] | None:
        """The right to download a file, with its bytes reserved; None if it is here by now, or to be waited for."""
        path = self.path(record)
        partial = path.with_name(path.name + _PARTIAL)
        with self._locked():
            if path.exists():
                return None
            if partial.exists() and not _abandoned(partial):
                return None
            if not self._make_room(record.bytes):
                return None
            descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            try:
                _reserve(descriptor, record.bytes)
            except OSError:
                partial.unlink(missing_ok=True)
                os.close(descriptor)
                raise
            return descriptor, partial

    def _make_room(self, needed: int) -> bool:
        """Remove what was used longest ago until `needed` bytes fit; False if downloads of others take the room."""
        files, total = [], 0
        for entry in self.folder.iterdir():
            try:
                status = entry.stat()
            except FileNotFoundError:
                continue
            if entry.name.endswith(_PARTIAL):
                total += 0 if _abandoned(entry) else status.st_size
            elif "-" in entry.name:
                total += status.st_size
                files.append((status.st_atime_ns, status.st_size, entry))
        if total + needed <= self.limit:
            return True
        if total - sum(size for _, size, _ in files) + needed > self.limit:
            return False
        for _, size, path in sorted(files):
            path.unlink(missing_ok=True)
            total -= size
            if total + needed <= self.limit:
                return True
        return False

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with os.fdopen(open_plain(self.folder / "lock", os.O_RDWR | os.O_CREAT), "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _reserve(descriptor: int, size: int) -> None:
    """Give a new file its size and, where the system can, its room on the disk; writing it is faster then."""
    if size and hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.ftruncate(descriptor, size)


def _abandoned(partial: Path) -> bool:
    """Remove a partial file that no process is writing; whether it is gone."""
    try:
        descriptor = open_plain(partial, os.O_RDWR)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        partial.unlink(missing_ok=True)
        return True
    finally:
        os.close(descriptor)


def _checksum(descriptor: int, size: int) -> str:
    if size == 0:
        return xxhash.xxh3_128_hexdigest(b"")
    with mmap.mmap(descriptor, size, prot=mmap.PROT_READ) as content:
        return xxhash.xxh3_128_hexdigest(content)
