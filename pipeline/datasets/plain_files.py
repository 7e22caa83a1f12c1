"""The door to raw files: only plain ones are opened, up to a size, and none that a link leads out of its folder."""

import contextlib
import errno
import gzip
import os
import stat
from collections import OrderedDict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import BinaryIO, Literal, cast

from pipeline.plain import KINDS, open_checked

Links = Literal["inside", "follow"]

MAX_PICTURE = 1 << 30  # bytes; the largest picture that is decoded, of 89 megapixels, has half of it uncompressed
MAX_TEXT = 1 << 20  # of a text with the captions of one picture
MAX_LIST = 1 << 26  # of a list of names, or the JSON of one picture
MAX_JSON = 1 << 30  # of a JSON file with all annotations, which is read whole
_KERNEL = {
    *("proc", "sysfs", "cgroup", "cgroup2", "debugfs", "tracefs", "securityfs", "configfs", "pstore", "efivarfs"),
    *("bpf", "binfmt_misc", "devpts", "mqueue", "fusectl", "rpc_pipefs", "selinuxfs"),
}
_CHUNK = 1 << 20
_FOLDERS = 4096  # whose real paths are remembered


class Inside:
    """Folders that params.yaml names: what is found in them may not lead out of them.

    A folder that is named may itself be a link, and links inside lead where they like within it. A link to somewhere
    else would copy what the user did not name into an index: it is refused, unless `links` is "follow".
    """

    def __init__(self, *roots: Path, links: Links = "inside", elsewhere: bool = False) -> None:
        """Args:
        elsewhere: whether names may lead out by being absolute or by `..`, as a table may write them.
        """
        self._roots = tuple(dict.fromkeys(roots))
        self._follow, self._elsewhere = links == "follow", elsewhere
        self._written = tuple(_prefix(str(root)) for root in self._roots)
        self._real = tuple(_prefix(os.path.realpath(root)) for root in self._roots)
        self._inside: OrderedDict[str, bool] = OrderedDict()

    def wrong_with(self, path: Path | str) -> str | None:
        """Why an absolute path is not read, or None; it need not exist."""
        written = str(path)
        if not _prefix(os.path.normpath(written)).startswith(self._written):
            return None if self._elsewhere else f"its path leads out of {self._named()} ({written})"
        if self._follow:
            return None
        plain = "/.." not in written and self._folder_is_inside(written.rpartition("/")[0])
        if plain and not os.path.islink(written):  # noqa: PTH114 (raises less)
            return None
        real = os.path.realpath(written)
        if _prefix(real).startswith(self._real):
            return None
        return (
            f"a link to {real}, which lies outside of {self._named()}; to read it nevertheless, write `links: follow` "
            "for this data set in params.yaml"
        )

    def _named(self) -> str:
        return str(self._roots[0]) if len(self._roots) == 1 else "the folders named"

    def _folder_is_inside(self, folder: str) -> bool:
        known = self._inside.get(folder)
        if known is None:
            known = self._inside[folder] = _prefix(os.path.realpath(folder)).startswith(self._real)
            if len(self._inside) > _FOLDERS:
                self._inside.popitem(last=False)
        return known


def _prefix(folder: str) -> str:
    return folder if folder.endswith("/") else folder + "/"


def open_plain(path: Path) -> BinaryIO:
    """Open a regular file for reading; never a pipe, a device or a file of the kernel, which might block or not end.

    Raises:
        OSError: it cannot be opened, or is not a regular file.
        ValueError: the path holds a zero byte.
    """
    return open_checked(path, _require_plain)


def read_plain(path: Path, limit: int, offset: int = 0, length: int = -1) -> bytes:
    """The bytes of a regular file, or `length` of them from `offset` on; what lies behind its end is left out.

    Raises:
        OSError: as `open_plain`; or they are more than `limit`.
    """
    with open_plain(path) as file:
        behind = max(0, os.fstat(file.fileno()).st_size - offset)
        wanted = behind if length < 0 else min(length, behind)
        if wanted > limit:
            raise too_large(wanted, limit)
        file.seek(offset)
        return file.read(wanted)


def read_unpacked(path: Path, limit: int) -> bytes:
    """As `read_plain`, of a file that is gzipped if its name says so; `limit` counts what it unpacks to.

    Raises:
        OSError, EOFError, zlib.error: it cannot be read, or unpacks to more.
    """
    if path.suffix.lower() != ".gz":
        return read_plain(path, limit)
    content = bytearray()
    with open_unpacked(path) as file:
        while chunk := file.read(_CHUNK):
            content += chunk
            if len(content) > limit:
                raise OSError(errno.EFBIG, f"unpacks to more than {limit:,} bytes")
    return bytes(content)


@contextlib.contextmanager
def open_unpacked(path: Path) -> Iterator[BinaryIO]:
    """A regular file for reading, gzipped if its name says so; errors as `open_plain`."""
    with open_plain(path) as file:
        if path.suffix.lower() != ".gz":
            yield file
            return
        with gzip.GzipFile(fileobj=file) as unpacked:
            yield cast(BinaryIO, unpacked)


def too_large(size: int, limit: int) -> OSError:
    """The error of a file, or a part of one, with too many bytes."""
    return OSError(errno.EFBIG, f"too large: {size:,} bytes, of which at most {limit:,} are read")


def exists(path: Path | str) -> bool:
    """Whether something is there; unlike `Path.exists` it is nothing, not an error, that a path is too long."""
    return os.path.exists(path)  # noqa: PTH110


def is_file(path: Path | str) -> bool:
    """As `exists`, of a file."""
    return os.path.isfile(path)  # noqa: PTH113


def is_folder(path: Path | str) -> bool:
    """As `exists`, of a folder."""
    return os.path.isdir(path)  # noqa: PTH112


def _require_plain(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, f"{KINDS.get(stat.S_IFMT(found.st_mode), 'something else')}, not a file")
    if found.st_dev in _kernel_devices():
        raise OSError(errno.EINVAL, "a file that the kernel makes up, not one of a disk")


@cache
def _kernel_devices() -> frozenset[int]:
    """The devices of /proc, /sys and their like, whose regular files may block, change the system or never end."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:  # no Linux
        return frozenset()
    devices = set()
    for line in mounts:
        before, _, behind = line.partition(" - ")
        if behind.partition(" ")[0] in _KERNEL:
            devices.add(os.makedev(*map(int, before.split(" ")[2].split(":"))))
    return frozenset(devices)
