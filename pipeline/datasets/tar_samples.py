"""Samples of a webdataset archive: neighbouring members that share a key, read in order and never unpacked."""

import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.datasets.samples import Failure, Picture
from pipeline.errors import DataError, SourceError

PICTURES = (
    *("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "jp2", "avif"),
    *("jpe", "jfif", "jif", "j2k", "jpx", "jpf", "dib", "ppm", "pgm", "pbm", "pnm", "ico", "pcx", "mpo", "apng", "sgi"),
    *("heic", "heif", "jxl"),  # pictures that are not read; they become failures, with the reason
)
_NOT_FILES = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
}
_CHUNK = 1 << 20  # bytes; a multiple of a block


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
            DataError: it is not valid UTF-8.
        """
        try:
            return self.read().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataError(f"text is not valid UTF-8: {error}") from error


@dataclass(frozen=True)
class TarSample:
    """All files of one key.

    Attributes:
        key: path inside the archive up to the first dot of its last part, as webdataset splits it.
        members: by what follows that dot, in lower case.
        problems: members that were ignored.
        again: whether files of this key stand elsewhere in the archive, apart from these.
    """

    key: str
    members: dict[str, Member]
    problems: list[str] = field(default_factory=list)
    again: bool = False

    def picture(self) -> Picture:
        """The picture of the sample; of several, the first by `PICTURES`. `key.input.jpg` is one if it is alone.

        Raises:
            DataError: it has no picture, or several of which none is called by its kind alone.
        """
        for kind in PICTURES:
            if kind in self.members:
                return self.members[kind].picture()
        longer = [name for name in self.members if name.rpartition(".")[2] in PICTURES]
        if len(longer) == 1:
            return self.members[longer[0]].picture()
        raise DataError(f"{'several pictures' if longer else 'no picture'}; {self.found()}")

    def found(self) -> str:
        """What there is, for messages."""
        apart = "; files of this key stand apart in the archive: write them side by side (tar --sort=name)"
        return f"its files are {', '.join(f'.{name}' for name in self.members)}{apart if self.again else ''}"


def tar_samples(archive: Path, left_out: Counter[str] | None = None) -> Iterator[TarSample | Failure]:
    """The samples of an uncompressed tar in order.

    Nothing is extracted. Links, devices and names that lead out of the archive are failures; folders and files
    without an extension are skipped. A truncated archive is a failure after its complete samples. An archive that was
    appended by `cat` is read as well.

    Args:
        left_out: counts the files that are skipped, by reason.

    Raises:
        SourceError: the archive is missing, is not a tar, or is compressed.
    """
    try:
        opened = tarfile.open(archive, "r:")  # noqa: SIM115 (closed below, opened here for the error)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise SourceError(
            f"{archive} cannot be read as an uncompressed tar: {error}. A compressed archive cannot be read in place: "
            "unpack it with gunzip."
        ) from error
    with opened:
        sample, parts = TarSample("", {}), set[int]()
        for member in _members(opened, archive, Counter() if left_out is None else left_out):
            if isinstance(member, Failure):
                yield member
                continue
            key, extension, content = member
            if key != sample.key or content is None:
                if sample.members:
                    yield sample
                    if len(sample.members) == 1:  # perhaps a part; whole samples need no memory
                        parts.add(hash(sample.key))
                sample = TarSample(key, {}, again=hash(key) in parts)
            if content is None:
                continue
            if extension in sample.members:
                sample.problems.append(f"a second file .{extension}; the first is taken")
            else:
                sample.members[extension] = content
        if sample.members:
            yield sample


def _members(
    opened: tarfile.TarFile, archive: Path, left_out: Counter[str]
) -> Iterator[tuple[str, str, Member | None] | Failure]:
    """Key, extension and place of each plain file; None for its place where another archive was appended."""
    file = opened.fileobj
    assert file is not None, "an archive that is open for reading has a file"
    while True:
        try:
            entry = opened.next()
        except (tarfile.TarError, OSError, EOFError, ValueError) as error:
            yield Failure(archive.name, f"the archive is damaged or cut short: {error}")
            return
        opened.members.clear()  # type: ignore[attr-defined]  # it would grow without bound
        if entry is None:
            if not _ends_here(file, opened.offset):
                yield Failure(archive.name, f"the archive is damaged or cut short at byte {opened.offset}")
                return
            appended = _behind(file, opened.offset)
            if appended is None:
                return
            opened.offset = appended
            yield "", "", None
            continue
        if reason := _refused(entry):
            yield Failure(f"{archive.name}: {_shown(entry.name)}", reason)
            continue
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


def _reading(file: Any, offset: int, length: int) -> Callable[[], bytes]:
    def read() -> bytes:
        file.seek(offset)
        content: bytes = file.read(length)
        if len(content) != length:
            raise DataError(f"the archive is cut short: expected {length} bytes, found {len(content)}")
        return content

    return read
