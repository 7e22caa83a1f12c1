"""Samples of a webdataset archive: neighbouring members that share a key, read in order and never unpacked."""

import contextlib
import os
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from pipeline.datasets.plain_files import MAX_PICTURE, open_plain, too_large
from pipeline.datasets.samples import Failure, Picture
from pipeline.errors import DataError, SourceError

PICTURES = (
    *("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "jp2", "avif"),
    *("jpe", "jfif", "jif", "j2k", "jpx", "jpf", "dib", "ppm", "pgm", "pbm", "pnm", "ico", "pcx", "mpo", "apng", "sgi"),
    *("heic", "heif", "jxl"),  # pictures that are not read; they become failures, with the reason
)
UNREAD_SOUNDS = ("m4a", "aac", "wma", "mp4", "webm", "amr")  # they become failures, with the reason
SOUNDS = (
    *("wav", "flac", "ogg", "oga", "opus", "mp3", "aiff", "aif", "aifc", "au", "snd", "caf", "w64", "rf64", "wave"),
    *UNREAD_SOUNDS,
)
_APART = "files of this key stand apart in the archive: write them side by side (tar --sort=name)"
_REMEMBERED = 1 << 20  # keys of an archive
_NOT_FILES = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
}
_CHUNK = 1 << 20  # bytes; a multiple of a block
_MAX_TEXT = 16 << 20  # bytes of a member that is text
_MAX_HEADER = 1 << 20  # bytes of a long name, or of what else a header of PAX holds


@dataclass(frozen=True)
class Member:
    """One file of a sample and its place in the archive; its bytes are read on request.

    They must be requested before the next sample is taken.
    """

    path: Path
    offset: int
    length: int
    read: Callable[[], bytes]

    def picture(self) -> Picture:
        """The member as an encoded image."""
        return Picture(self.path, self.offset, self.length, self.read)

    def text(self) -> str:
        """The member as text.

        Raises:
            DataError: it is too large, or not valid UTF-8.
        """
        if self.length > _MAX_TEXT:
            raise DataError(f"a text of {self.length:,} bytes; at most {_MAX_TEXT:,}")
        try:
            return self.read().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataError(f"text is not valid UTF-8: {error}") from error


@dataclass
class TarSample:
    """All files of one key.

    Attributes:
        key: path inside the archive up to the first dot of its last part, as webdataset splits it.
        members: by what follows that dot, in lower case.
        problems: members that were ignored.
        again: whether files of this key stood before in the archive, apart from these.
        files: how many members it is made of, ignored ones included.
    """

    key: str
    members: dict[str, Member]
    problems: list[str] = field(default_factory=list)
    again: bool = False
    files: int = 0

    def picture(self) -> Picture:
        """The picture of the sample; of several, the first by `PICTURES`. `key.input.jpg` is one if it is alone.

        Raises:
            DataError: it has no picture, or several of which none is called by its kind alone.
        """
        return self._medium(PICTURES, "picture")

    def sound(self) -> Picture:
        """The sound of the sample, as `picture`, by `SOUNDS`."""
        return self._medium(SOUNDS, "sound")

    def _medium(self, kinds: Sequence[str], called: str) -> Picture:
        for kind in kinds:
            if kind in self.members:
                return self.members[kind].picture()
        longer = [name for name in self.members if name.rpartition(".")[2] in kinds]
        if len(longer) == 1:
            return self.members[longer[0]].picture()
        raise DataError(f"{f'several {called}s' if longer else f'no {called}'}; {self.found()}")

    def found(self) -> str:
        """What there is, for messages."""
        return f"its files are {', '.join(f'.{name}' for name in self.members)}{f'; {_APART}' if self.again else ''}"


def tar_samples(archive: Path, left_out: Counter[str] | None = None) -> Iterator[TarSample | Failure]:
    """The samples of an uncompressed tar in order.

    Nothing is extracted. Links, devices and names that lead out of the archive are failures; folders and files
    without an extension are skipped. A truncated archive is a failure after its complete samples. An archive that was
    appended by `cat` is read as well.

    As in the library webdataset, the files of a sample stand side by side. Files of a key that stood before are a
    sample of their own that says so in `found` and `problems`; a million keys of an archive are remembered for that.

    Args:
        left_out: counts the files that are skipped, by reason.

    Raises:
        SourceError: the archive is missing, is not a tar, or is compressed.
    """
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(open_plain(archive))
        except OSError as error:
            raise SourceError(f"{archive} cannot be read: {error.strerror or error}.") from error
        try:
            opened = stack.enter_context(tarfile.open(fileobj=cast(Any, _Headers(file)), mode="r:"))
        except Exception as error:  # `tarfile` raises all sorts of errors on malformed headers
            raise SourceError(
                f"{archive} cannot be read as an uncompressed tar: {error or type(error).__name__}. A compressed "
                "archive cannot be read in place: unpack it with gunzip."
            ) from error
        sample, before = TarSample("", {}), set[int]()
        for member in _members(opened, file, archive, Counter() if left_out is None else left_out):
            if isinstance(member, Failure):
                yield member
                continue
            key, extension, content = member
            if key != sample.key or content is None:
                if sample.members:
                    yield sample
                    if len(before) < _REMEMBERED:
                        before.add(hash(sample.key))
                again = hash(key) in before
                sample = TarSample(key, {}, [_APART] if again else [], again)
            if content is None:
                before.clear()  # archives that were joined may number their samples alike
                continue
            sample.files += 1
            if extension in sample.members:
                sample.problems.append(f"a second file .{extension}; the first is taken")
            else:
                sample.members[extension] = content
        if sample.members:
            yield sample


class _Headers:
    """The file of an archive as `tarfile` reads its headers: one that claims to be huge is damaged."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.tell, self.seek, self.close = file.tell, file.seek, file.close

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MAX_HEADER:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return self._file.read(size)


def _members(
    opened: tarfile.TarFile, file: BinaryIO, archive: Path, left_out: Counter[str]
) -> Iterator[tuple[str, str, Member | None] | Failure]:
    """Key, extension and place of each plain file; None for its place where another archive was appended."""
    end = os.fstat(file.fileno()).st_size
    position = 0
    while True:
        try:
            entry = opened.next()
        except Exception as error:  # as above
            yield Failure(archive.name, f"the archive is damaged or cut short: {error or type(error).__name__}")
            return
        opened.members.clear()  # type: ignore[attr-defined]  # it would grow without bound
        if entry is None:
            if not _ends_here(file, opened.offset):
                yield Failure(archive.name, f"the archive is damaged or cut short at byte {opened.offset}")
                return
            appended = _behind(file, opened.offset)
            if appended is None:
                return
            opened.offset = position = appended
            yield "", "", None
            continue
        if not position < entry.offset_data <= opened.offset:
            yield Failure(archive.name, f"the archive is damaged at byte {position}: {entry.size:,} bytes of a member")
            return
        position = opened.offset
        if reason := _refused(entry):
            yield Failure(f"{archive.name}: {_shown(entry.name)}", reason)
            continue
        if entry.isreg() and entry.size > end - entry.offset_data:
            found = f"'{_shown(entry.name)}' has {max(0, end - entry.offset_data):,} of {entry.size:,} bytes"
            yield Failure(archive.name, f"the archive is damaged or cut short: {found}")
            return
        folder, _, name = entry.name.rpartition("/")
        stem, dot, extension = name.partition(".")
        if entry.isreg() and stem and dot:
            key = f"{folder}/{stem}" if folder else stem
            place = Member(archive, entry.offset_data, entry.size, _reading(file, entry.offset_data, entry.size))
            yield key, extension.lower(), place
        elif entry.isreg():
            left_out["hidden" if name.startswith(".") else "in a tar, without an extension"] += 1


def _behind(file: Any, offset: int) -> int | None:
    """Where the first block that is not zero lies behind the end mark: `cat a.tar b.tar` leaves the marks inside."""
    file.seek(offset)
    while chunk := file.read(_CHUNK):
        if any(chunk):
            first = len(chunk) - len(chunk.lstrip(b"\0"))
            return int(offset + first // tarfile.BLOCKSIZE * tarfile.BLOCKSIZE)
        offset += len(chunk)
    return None


def _ends_here(file: Any, offset: int) -> bool:
    """Whether there is an end mark; `tarfile` also treats a broken or missing header as the end."""
    file.seek(offset)
    block: bytes = file.read(tarfile.BLOCKSIZE)
    return len(block) == tarfile.BLOCKSIZE and not any(block)


def _refused(entry: tarfile.TarInfo) -> str | None:
    if entry.issparse():
        return "refused: a sparse file, whose bytes are not side by side"
    if entry.type in _NOT_FILES:
        return f"refused: {_NOT_FILES[entry.type]}, not a file"
    if entry.name.startswith("/") or ".." in entry.name.split("/"):
        return "refused: its name leads out of the archive"
    if _shown(entry.name) != entry.name:
        return "refused: its name is not valid UTF-8"
    return None


def _shown(name: str) -> str:
    return name if name.isascii() else name.encode("utf-8", "backslashreplace").decode("utf-8")


def _reading(file: BinaryIO, offset: int, length: int) -> Callable[[], bytes]:
    def read() -> bytes:
        if length > MAX_PICTURE:
            raise too_large(length, MAX_PICTURE)
        file.seek(offset)
        content: bytes = file.read(length)
        if len(content) != length:
            raise DataError(f"the archive is cut short: expected {length} bytes, found {len(content)}")
        return content

    return read
