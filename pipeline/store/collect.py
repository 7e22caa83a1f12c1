"""Frees what no store needs: DVC's cache by DVC's own rules, then the scratch folder."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import StoreError
from pipeline.features.claims import SUFFIX
from pipeline.features.dvc_cache import cached_output
from pipeline.features.scratch import claimed
from pipeline.store.listing import Scratch, bytes_of, scratch_shards, stores
from pipeline.store.locked import locked_stores
from pipeline.store.needs import needs_of, needs_of_cached
from pipeline.work_folder import work_folder


@dataclass(frozen=True)
class Collected:
    """What was freed, or would be.

    Attributes:
        shards: finished shards that scratch alone holds and no store of the workspace names.
        partial: folders of killed runs.
        bytes: of both.
        kept: shards of scratch that stay, because a store names them or DVC's cache holds the same file.
        held: the folders in scratch that a running encode holds, with its process, so that all in them stays.
        wary: stores whose list of shards cannot be trusted, so that all shards of their fingerprint stay.
        unknown: stores of which not even the fingerprint can be read, so that all shards stay.
    """

    shards: tuple[Scratch, ...]
    partial: tuple[Path, ...]
    bytes: int
    kept: int
    held: tuple[tuple[Path, str], ...] = ()
    wary: tuple[Path, ...] = ()
    unknown: tuple[Path, ...] = ()


def collect_scratch(*, dry: bool) -> Collected:
    """Remove from the scratch folder what only it holds and no store of the workspace names.

    A shard that DVC's cache still has stays: being the same file, it costs nothing, and it lets a store grow. So does
    all that a running encode may use.
    """
    needs = [needs_of(folder) for folder in stores()]
    recorded = [needs_of_cached(output.path, cached_output(output.stage, output.path)) for output in locked_stores()]
    needs += [need for need in recorded if need is not None]
    unknown = tuple(need.folder for need in needs if not need.fingerprints)
    wary = tuple(need.folder for need in needs if need.fingerprints and need.keys is None)
    shards, partial = scratch_shards(), _partial()
    free, gone, size, held = [], [], 0, []
    for folder in sorted({s.folder.parent for s in shards} | {p.parent for p in partial}):
        with claimed(folder) as holder:
            if holder is not None:
                held.append((folder, holder))
                continue
            mine = [
                shard
                for shard in shards
                if shard.folder.parent == folder
                and shard.links == 1
                and not unknown
                and not any(need.includes(shard.fingerprint, shard.key) for need in needs)
            ]
            killed = [path for path in partial if path.parent == folder and path.is_dir()]
            size += sum(s.alone for s in mine) + bytes_of(f for path in killed for f in path.rglob("*"))
            free += mine
            gone += killed
            if not dry:
                for path in [*(s.folder for s in mine), *killed]:
                    shutil.rmtree(path)
                for path in folder.glob(f"*{SUFFIX}"):  # claims of killed runs: nobody holds one
                    path.unlink(missing_ok=True)
    return Collected(tuple(free), tuple(gone), size, len(shards) - len(free), tuple(held), wary, unknown)


def _partial() -> list[Path]:
    """Shards that are being written, or that a killed run left."""
    return sorted(p for p in (work_folder() / "scratch").glob("*/*.partial") if p.is_dir())


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
