"""The objects of DVC's cache that hold a store, as dvc.lock names them."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from pipeline.dvc_lock import locked_stages
from pipeline.work_folder import cache_folder

_PIECE = 8 << 20


@dataclass(frozen=True)
class CacheObject:
    """A file of DVC's cache: where it should be, and the MD5 that it should have."""

    path: Path
    md5: str

    @property
    def present(self) -> bool:
        """Whether the file exists."""
        return self.path.is_file()

    def intact(self) -> bool:
        """Whether its content still has the MD5 it is named by; reads all of it."""
        return md5_of(self.path) == self.md5


def md5_of(path: Path) -> str:
    """MD5 of a file in hex, by which DVC names it."""
    running = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while piece := file.read(_PIECE):
            running.update(piece)
    return running.hexdigest()


@dataclass(frozen=True)
class CachedOutput:
    """A directory output in DVC's cache.

    Attributes:
        listing: the object that lists its files.
        files: by path inside the output; empty if the listing is missing or cannot be read.
    """

    listing: CacheObject
    files: dict[str, CacheObject]


def stage_of(out: Path) -> str | None:
    """The stage whose output is `out` (relative to the root of the repository), as dvc.lock has it."""
    for stage, entry in locked_stages().items():
        if any(output.get("path") == out.as_posix() for output in entry.get("outs", [])):
            return stage
    return None


def cached_output(stage: str, out: Path) -> CachedOutput | None:
    """What dvc.lock records of the output `out` of `stage`; None without DVC or if the lock does not list it."""
    cache = cache_folder()
    outs = locked_stages().get(stage, {}).get("outs", [])
    digest = str(next((entry.get("md5", "") for entry in outs if entry.get("path") == out.as_posix()), ""))
    if cache is None or not digest:
        return None
    objects = cache / "files" / "md5"
    listing = CacheObject(objects / digest[:2] / digest[2:], digest.removesuffix(".dir"))
    files = {}
    if listing.present and digest.endswith(".dir"):
        try:
            for entry in json.loads(listing.path.read_text(encoding="utf-8")):
                md5 = str(entry["md5"])
                files[str(entry["relpath"])] = CacheObject(objects / md5[:2] / md5[2:], md5)
        except (ValueError, KeyError, TypeError):
            files = {}
    return CachedOutput(listing, files)
