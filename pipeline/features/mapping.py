"""All shards of an array in one range of memory, so that a row has one address and a batch is one gather.

Python's own mmap maps one file wherever the kernel likes. Here a range as long as the whole array is reserved first,
and each shard's payload is mapped to its place there (`MAP_FIXED`), read-only and shared with the page cache. It needs
payloads that are whole pages; other arrays are read shard by shard.
"""

import ctypes
import functools
import mmap
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import StoreError
from pipeline.features.identity import FileIdentity, held_identity

_PROT_NONE, _PROT_READ = 0, 1
_MAP_SHARED, _MAP_PRIVATE, _MAP_FIXED = 1, 2, 0x10
_MAP_ANONYMOUS, _MAP_NORESERVE = 0x20, 0x4000  # Linux
_MADV_RANDOM, _MADV_WILLNEED = 1, 3
_LARGE_PAGE = 2 << 20  # on x86, and on ARM with small pages of 4 KiB
_FAILED = ctypes.c_void_p(-1).value


def can_map(payload_bytes: int, shards: int) -> bool:
    """Whether shards of this many bytes lie one after another in memory: only Linux, and only whole pages."""
    return sys.platform == "linux" and (shards <= 1 or payload_bytes % mmap.PAGESIZE == 0) and payload_bytes > 0


class Mapping:
    """The payloads of shard files in order, as one read-only array of bytes; unmapped when no view of it is left.

    Args:
        paths: shard files in order.
        payload_bytes: of every shard but the last; whole pages (see `can_map`) if there are several.
        last_bytes: of the last shard, at most `payload_bytes`.

    Attributes:
        identities: which files they were.

    Raises:
        StoreError: a file cannot be opened or mapped, or is shorter than its payload.
    """

    def __init__(self, paths: Sequence[Path], payload_bytes: int, last_bytes: int) -> None:
        self._libc = _libc()
        self._flag = (ctypes.c_ubyte * 1)()
        self.identities: list[FileIdentity] = []
        self.size = payload_bytes * (len(paths) - 1) + last_bytes
        reserve = _MAP_PRIVATE | _MAP_ANONYMOUS | _MAP_NORESERVE
        # if shards are whole large pages too, the kernel can map them as such: fewer TLB misses at random access
        self._reserved = self.size + _LARGE_PAGE
        self._start = self._mmap(None, self._reserved, _PROT_NONE, reserve, -1, "address space")
        self.address = -(-self._start // _LARGE_PAGE) * _LARGE_PAGE
        try:
            for number, path in enumerate(paths):
                length = last_bytes if number == len(paths) - 1 else payload_bytes
                self._map(path, self.address + number * payload_bytes, length)
        except BaseException:
            self.close()
            raise
        # The kernel's read-ahead fetches a thousand times what a few small rows need; `read_range` reads files.
        self._libc.madvise(self.address, self.size, _MADV_RANDOM)

    def _map(self, path: Path, address: int, length: int) -> None:
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise StoreError(f"{path} cannot be opened ({error.strerror}). Restore it with: dvc checkout") from error
        try:
            status = os.fstat(descriptor)
            size = status.st_size
            self.identities.append(held_identity(status))
            if size < length:
                raise StoreError(f"{path} has {size} bytes, expected at least {length}. Restore it with: dvc checkout")
            self._mmap(address, length, _PROT_READ, _MAP_SHARED | _MAP_FIXED, descriptor, str(path))
        finally:
            os.close(descriptor)

    def _mmap(self, address: int | None, length: int, protection: int, flags: int, descriptor: int, what: str) -> int:
        placed: int | None = self._libc.mmap(address, length, protection, flags, descriptor, 0)
        if placed is None or placed == _FAILED:
            raise StoreError(
                f"{length / 1e9:.2f} GB of {what} cannot be mapped: {os.strerror(ctypes.get_errno())}. "
                "Raise the limits of address space and of mappings (`ulimit -v`, vm.max_map_count)."
            )
        return placed

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return {"shape": (self.size,), "typestr": "|u1", "data": (self.address, True), "version": 3}

    def resident(self, offset: int) -> bool:
        """Whether the page of this byte is in the page cache."""
        page = (self.address + offset) // mmap.PAGESIZE * mmap.PAGESIZE
        return self._libc.mincore(page, 1, self._flag) != 0 or bool(self._flag[0] & 1)

    def will_need(self, offsets: np.ndarray, length: int) -> None:
        """Ask the kernel to read `length` bytes at each of `offsets` (n,) in the background, all at once."""
        starts = (np.sort(offsets) + self.address) // mmap.PAGESIZE * mmap.PAGESIZE
        span = length + mmap.PAGESIZE  # a row may begin in the middle of a page
        advise, end = self._libc.madvise, self.address + self.size
        for start in starts.tolist():
            advise(start, min(span, end - start), _MADV_WILLNEED)

    def close(self) -> None:
        """Unmap; views of it must not be used any more."""
        if self.address:
            self._libc.munmap(self._start, self._reserved)
            self.address = 0

    def __del__(self) -> None:
        if getattr(self, "address", 0):
            self.close()


@functools.cache
def _libc() -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    size, pointer, number = ctypes.c_size_t, ctypes.c_void_p, ctypes.c_int
    libc.mmap.restype = pointer
    libc.mmap.argtypes = [pointer, size, number, number, number, ctypes.c_long]
    libc.munmap.argtypes = [pointer, size]
    libc.madvise.argtypes = [pointer, size, number]
    libc.mincore.argtypes = [pointer, size, ctypes.POINTER(ctypes.c_ubyte)]
    return libc
