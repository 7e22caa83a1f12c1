"""Makes a damaged output of a stage again: a checkpoint, an aligner, a dense head.

A damaged bit is in DVC's cache too where the two are names of one inode, and DVC, which goes by times, calls it clean.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import StoreError
from pipeline.features.dvc_cache import CachedOutput, CacheObject, cached_output, stage_of
from pipeline.store.clean import clean_cache
from pipeline.store.listing import ROOT
from pipeline.store.repair import run_stage


@dataclass(frozen=True)
class Remade:
    """What was done about an output.

    Attributes:
        damaged: its files that were not what DVC recorded, by path inside of it.
        cache: objects removed from DVC's cache.
        needed: whether its stage ran again.
    """

    damaged: tuple[str, ...]
    cache: tuple[str, ...]
    needed: bool = True


def is_other_output(folder: Path) -> bool:
    """Whether `folder` is an output of the DAG, but no feature store."""
    return not folder.is_relative_to(ROOT) and stage_of(folder) is not None


def remake(folder: Path) -> Remade:
    """Compare an output with what DVC recorded of it; where they differ, here or in DVC's cache, run its stage again.

    Raises:
        StoreError: no stage of dvc.lock writes it, its stage fails, or it is still damaged afterwards.
    """
    stage = stage_of(folder)
    if stage is None:
        raise StoreError(f"No stage in dvc.lock writes {folder}. Nothing was changed; run: dvc repro")
    before = cached_output(stage, folder)
    damaged = tuple(_damaged(folder, before))
    objects = tuple(clean_cache(stage, folder))
    if not damaged and not objects and before is not None and before.listing.present:
        return Remade((), (), needed=False)
    run_stage(stage)
    if left := list(_damaged(folder, cached_output(stage, folder))):
        raise StoreError(
            f"{folder} is still damaged after it was made again: {', '.join(left[:5])}. Is the disk failing?"
        )
    return Remade(damaged, objects)


def _damaged(folder: Path, recorded: CachedOutput | None) -> Iterator[str]:
    """Files that are not as DVC recorded them, were not recorded, or are missing; none where its record is lost."""
    if recorded is None or not recorded.listing.present or not recorded.listing.intact():
        return
    found = {Path(root, name).relative_to(folder).as_posix() for root, _, names in os.walk(folder) for name in names}
    yield from sorted(found ^ recorded.files.keys())
    for name in sorted(found & recorded.files.keys()):
        path = folder / name
        if not path.is_file() or not CacheObject(path, recorded.files[name].md5).intact():
            yield name
