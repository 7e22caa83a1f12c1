"""Samples of a webdataset archive: neighbouring members that share a key, read in order and never unpacked."""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import SourceError


@dataclass(frozen=True)
class Member:
    """One file of a sample: its bytes, and where they lie in the archive."""

    content: bytes
    offset: int


@dataclass(frozen=True)
class TarSample:
    """All files of one key.

    Attributes:
        key: path inside the archive up to the first dot of its last part, as webdataset splits it.
        members: by what follows that dot, in lower case.
    """

    key: str
    members: dict[str, Member]


def tar_samples(archive: Path) -> Iterator[TarSample]:
    """The samples of an uncompressed tar in order; what is no plain file (links, devices, folders) is passed over.

    Nothing is extracted, so names that point outside the archive do no harm.

    Raises:
        SourceError: the archive is missing, damaged or compressed.
    """
    key, members = "", dict[str, Member]()
    try:
        with tarfile.open(archive, "r:") as opened:
            for entry in opened:
                if not entry.isreg():
                    continue
                folder, _, name = entry.name.rpartition("/")
                stem, dot, extension = name.partition(".")
                if not stem or not dot:
                    continue
                owner = f"{folder}/{stem}" if folder else stem
                if owner != key and members:
                    yield TarSample(key, members)
                    members = {}
                key = owner
                file = opened.extractfile(entry)
                assert file is not None  # a regular member has content
                members[extension.lower()] = Member(file.read(), entry.offset_data)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise SourceError(f"{archive} cannot be read as an uncompressed tar: {error}") from error
    if members:
        yield TarSample(key, members)
