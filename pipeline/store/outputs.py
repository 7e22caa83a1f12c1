"""Compares outputs with dvc.lock by their content; DVC goes by modification times and calls a flipped bit clean."""

import hashlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pipeline.features.dvc_cache import CachedOutput, cached_output, md5_of
from pipeline.features.manifest import MANIFEST
from pipeline.features.verify import Damage
from pipeline.store.locked import Output

_THREADS = min(4, os.cpu_count() or 1)
_IGNORED = ("__pycache__", ".partial")  # as in .dvcignore: ends of names that are never part of an output


@dataclass(frozen=True)
class Compared:
    """An output beside what dvc.lock says of it.

    Attributes:
        bytes: how many were read.
        problem: what is wrong, empty if nothing is.
        damages: which files, where DVC's cache has the list of them.
    """

    output: Output
    bytes: int = 0
    problem: str = ""
    damages: tuple[Damage, ...] = ()

    @property
    def same(self) -> bool:
        """Whether it is what DVC recorded."""
        return not self.problem


def compare(output: Output) -> Compared:
    """Read an output and compare it with dvc.lock; never fails."""
    try:
        return _compare(output)
    except OSError as error:
        return Compared(output, problem=f"it cannot be read ({error.filename}: {error.strerror or error})")


def _compare(output: Output) -> Compared:
    path = output.path
    if not path.exists():
        return Compared(output, problem="it is gone")
    if not output.md5.endswith(".dir"):
        size = path.stat().st_size if path.is_file() else 0
        same = path.is_file() and md5_of(path) == output.md5
        return Compared(output, size, "" if same else "its content has changed")
    files = dict(_files(path))
    with ThreadPoolExecutor(_THREADS) as pool:
        sums = dict(zip(files, pool.map(md5_of, files.values()), strict=True))
    size = sum(file.stat().st_size for file in files.values())
    if folder_md5(sums) == output.md5:
        return Compared(output, size)
    damages = _differences(sums, cached_output(output.stage, path))
    return Compared(output, size, f"{len(damages) or 'some'} of its files differ", damages)


def compare_store(output: Output) -> Compared:
    """The same for a store whose files agree with its manifest: if that is the one DVC recorded, all of it is."""
    cached = cached_output(output.stage, output.path)
    manifest, recorded = output.path / MANIFEST, None if cached is None else cached.files.get(MANIFEST)
    if cached is None or recorded is None or not manifest.is_file() or not cached.listing.intact():
        return compare(output)
    if md5_of(manifest) == recorded.md5:
        return Compared(output, manifest.stat().st_size)
    return Compared(output, 0, "it is another store than DVC recorded", (Damage(MANIFEST, "changed"),))


def folder_md5(sums: dict[str, str]) -> str:
    """The digest that DVC gives a folder, from the MD5 of each file by its path inside."""
    listed = [{"md5": sums[name], "relpath": name} for name in sorted(sums)]
    return hashlib.md5(json.dumps(listed, sort_keys=True).encode("utf-8"), usedforsecurity=False).hexdigest() + ".dir"


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and not any(part.endswith(_IGNORED) for part in parts):
            yield "/".join(parts), path


def _differences(sums: dict[str, str], cached: CachedOutput | None) -> tuple[Damage, ...]:
    if cached is None or not cached.files:
        return ()
    wanted = {name: entry.md5 for name, entry in cached.files.items()}
    damages = [Damage(name, "missing") for name in wanted.keys() - sums.keys()]
    damages += [Damage(name, "foreign") for name in sums.keys() - wanted.keys()]
    damages += [Damage(name, "changed") for name in wanted.keys() & sums.keys() if wanted[name] != sums[name]]
    return tuple(sorted(damages, key=lambda damage: damage.path))
