"""Removes damaged files from the scratch folder and from DVC's cache; everything is checked by content."""

import logging
import shutil
from pathlib import Path

from pipeline.features.dvc_cache import cached_output
from pipeline.features.manifest import checksum
from pipeline.features.shards import ScratchShard, shard_key
from pipeline.work_folder import cache_folder

log = logging.getLogger(__name__)


def clean_scratch(scratch: Path) -> list[str]:
    """Remove the shards in `scratch` whose content does not match their record; returns their keys."""
    removed = []
    for shard_folder in sorted(p for p in scratch.glob("*") if p.is_dir() and not p.name.endswith(".partial")):
        if not _sound(shard_folder):
            log.warning("%s is damaged: removing it from the scratch folder", shard_folder)
            shutil.rmtree(shard_folder)
            removed.append(shard_folder.name)
    return removed


def _sound(folder: Path) -> bool:
    shard = ScratchShard.find(folder)
    if shard is None or shard.record.key != folder.name:
        return False
    try:
        ids, reasons = shard.rows()
    except Exception:  # pyarrow has many errors for a damaged file
        return False
    named = shard_key(ids, shard.record.shard_rows) == folder.name and len(reasons) == shard.record.rows
    return named and all(checksum(folder / name) == expected for name, expected in shard.record.files.items())


def clean_cache(stage: str, out: Path) -> list[str]:
    """Remove the objects of the store `out` from DVC's cache whose MD5 is not their name; returns their paths.

    Args:
        stage: the stage of dvc.lock that writes the store.
    """
    cached = cached_output(stage, out)
    root = cache_folder()
    if cached is None or root is None:
        return []
    removed = []
    for entry in [cached.listing, *cached.files.values()]:
        if entry.present and not entry.intact():
            log.warning("%s is damaged: removing it from DVC's cache", entry.path)
            entry.path.unlink()
            removed.append(entry.path.relative_to(root).as_posix())
    return removed
