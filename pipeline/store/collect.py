"""Frees what no store needs: DVC's cache by DVC's own rules, then the scratch folder."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import StoreError
from pipeline.store.listing import Scratch, bytes_of, scratch_shards, stores
from pipeline.store.needs import needs_of
from pipeline.work_folder import work_folder


@dataclass(frozen=True)
class Collected:
    """What was freed, or would be.

    Attributes:
        shards: finished shards that scratch alone holds and no store of the workspace names.
        partial: folders of killed runs.
        bytes: of both.
        kept: shards of scratch that stay, because a store names them or DVC's cache holds the same file.
        wary: stores whose list of shards cannot be trusted, so that all shards of their fingerprint stay.
        unknown: stores of which not even the fingerprint can be read, so that all shards stay.
    """

    shards: tuple[Scratch, ...]
    partial: tuple[Path, ...]
    bytes: int
    kept: int
    wary: tuple[Path, ...] = ()
    unknown: tuple[Path, ...] = ()


def collect_scratch(*, dry: bool) -> Collected:
    """Remove from the scratch folder what only it holds and no store of the workspace names.

    A shard that DVC's cache still has stays: being the same file, it costs nothing, and it lets a store grow.
    """
    needs = [needs_of(folder) for folder in stores()]
    unknown = tuple(need.folder for need in needs if not need.fingerprints)
    wary = tuple(need.folder for need in needs if need.fingerprints and need.keys is None)
    shards = scratch_shards()
    free = [
        s for s in shards if s.links == 1 and not unknown and not any(n.includes(s.fingerprint, s.key) for n in needs)
    ]
    partial = sorted(p for p in (work_folder() / "scratch").glob("*/*.partial") if p.is_dir())
    size = sum(s.alone for s in free) + bytes_of(f for p in partial for f in p.rglob("*"))
    if not dry:
        for gone in [*(s.folder for s in free), *partial]:
            shutil.rmtree(gone)
    return Collected(tuple(free), tuple(partial), size, len(shards) - len(free), wary, unknown)


def collect_cache(scope: Sequence[str], *, dry: bool) -> str:
    """`dvc gc` with the given scope, e.g. ("--workspace",); returns its summary.

    Raises:
        StoreError: DVC failed.
    """
    command = [sys.executable, "-m", "dvc", "gc", *scope, *(["--dry"] if dry else []), "--force"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ})
    if done.returncode:
        raise StoreError(f"`{' '.join(command[2:])}` failed: {done.stderr.strip()[-500:]}")
    return " ".join(line for line in done.stdout.splitlines() if line and not line.startswith("Removing "))
