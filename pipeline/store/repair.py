"""Repairs a store: removes damaged files from every place that shares them and has its stage write the store again.

A shard has up to three names of one inode: in the store, in the scratch folder, in DVC's cache. A damaged bit is in
all of them, and DVC, which relies on modification times, considers it clean. So every place is checked by content,
damaged copies are removed, and the encode stage is forced to run: it reuses intact shards and encodes the rest.
"""

import json
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import StoreError
from pipeline.features.dvc_cache import stage_of
from pipeline.features.fingerprint import FORMAT_VERSION, format_of
from pipeline.features.manifest import Manifest, read_manifest
from pipeline.features.objects.check import verify_metadata
from pipeline.features.objects.pointer import pointed
from pipeline.features.scratch import exclusive, scratch_folder
from pipeline.features.verify import Damage, Verified, verify
from pipeline.store.clean import clean_cache, clean_scratch
from pipeline.store.listing import stores
from pipeline.store.needs import needs_of
from pipeline.store.remote import repair_remote
from pipeline.store.run_dvc import run_dvc
from pipeline.work_folder import work_folder

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Repaired:
    """What a repair did.

    Attributes:
        damages: what was wrong with the store.
        scratch: shards removed from the scratch folder, to be encoded again.
        cache: objects removed from DVC's cache.
        same_bytes: whether the store has the bytes it had when it was first written; None if that is not known.
        needed: whether the store was written again, because something was damaged or its format was older.
    """

    damages: tuple[Damage, ...]
    scratch: tuple[str, ...]
    cache: tuple[str, ...]
    same_bytes: bool | None
    needed: bool = True


def repair_all(folders: Iterable[Path]) -> Iterator[tuple[Path, Repaired]]:
    """Repair several stores one by one, and after each those that share a damaged file with it.

    DVC keeps equal files once: the metadata of two stores may be names of one inode, so damage to one is in both.

    Raises:
        StoreError: as `repair`.
    """
    waiting, done = list(dict.fromkeys(folders)), set()
    while waiting:
        folder = waiting.pop(0)
        before = _verified(folder)
        damaged = set() if before is None else _inodes(folder, before.damages)
        yield folder, repair(folder)
        done.add(folder)
        for other in stores() if damaged else ():
            inside = {file.stat().st_ino for file in other.rglob("*") if file.is_file()}
            if other not in done and other not in waiting and damaged & inside:
                log.warning("%s shares a damaged file with %s and is repaired too", other, folder)
                waiting.append(other)


def _inodes(folder: Path, damages: Iterable[Damage]) -> set[int]:
    return {(folder / damage.path).stat().st_ino for damage in damages if damage.kind == "changed"}


def repair(folder: Path) -> Repaired:
    """Repair the store at `folder`, in scratch and in DVC's cache as well; run it at the root of the project.

    Metadata is written again without a backbone; only damaged shards are encoded again.

    Raises:
        StoreError: no stage of dvc.lock writes this store, or its stage failed, or it is still damaged afterwards.
    """
    stage = stage_of(folder)
    if stage is None:
        raise StoreError(
            f"No stage in dvc.lock writes {folder}, so repair cannot write it again. Nothing was changed.\n"
            "  - If DVC encoded it: run this at the root of the project, with the path as dvc.lock has it "
            "(data/features/<group>/<view>/<dataset>).\n"
            "  - If it is a store of params.yaml that DVC has not encoded yet: dvc repro encode@<store> (of scenes "
            "and prompts encode_scenes@ and encode_prompts@), with its name under `stores`; then repair it.\n"
            "  - If it was encoded without DVC: delete its folder and those of its fingerprint in scratch "
            f"({_scratch_named(folder)}), since damaged shards there would be reused, and encode it as before. "
            "All its rows are encoded again. To lose only the damaged shards, call pipeline.store.repair.rewrite("
            "folder, write) from Python, where `write` encodes it."
        )
    return rewrite(folder, lambda: run_dvc("repro", "--force", "--single-item", stage), stage)


def rewrite(folder: Path, write: Callable[[], object], stage: str | None = None) -> Repaired:
    """Repair the store at `folder` by removing what is damaged and writing the store again.

    Args:
        write: writes the store again as it was; it takes the shards that it finds in scratch or in DVC's cache.
        stage: the stage in dvc.lock that writes the store; None if DVC does not list it.

    Raises:
        StoreError: it holds foreign files, which would be lost, or its features are being encoded by another process,
            or it is still damaged afterwards.
    """
    remote = () if _points(folder) is None else repair_remote(folder).damages
    before = _verified(folder)
    damages = () if before is None else before.damages
    foreign = [damage.path for damage in damages if damage.kind == "foreign"]
    if foreign:  # writing the store again would delete what may be the only copy
        raise StoreError(
            f"{folder} holds files that do not belong to it: {', '.join(foreign[:5])}. Move them elsewhere or delete "
            "them, and repair again."
        )
    manifest = _manifest(folder)
    removed = []
    for scratch in _scratch_folders(folder, manifest):
        with exclusive(scratch):
            removed += clean_scratch(scratch)
    objects = [] if stage is None else clean_cache(stage, folder)
    upgrade = before is not None and (not before.summed or _of_other_format(folder))
    if not (damages or removed or objects or upgrade or before is None):
        return Repaired(remote, (), (), same_bytes=True, needed=bool(remote))
    write()
    after = _checked(folder)
    if not after.intact:
        listed = "; ".join(str(damage) for damage in after.damages[:3])
        raise StoreError(f"{folder} is still damaged after it was written again: {listed}. Is the disk failing?")
    same = None if manifest is None else manifest == read_manifest(folder)
    return Repaired((*remote, *damages), tuple(removed), tuple(objects), same)


def _verified(folder: Path) -> Verified | None:
    """What `verify` finds; None if nothing of the store can be checked, so that all of it must be written again."""
    try:
        return _checked(folder)
    except StoreError as error:
        log.warning("%s", error)
        return None


def _checked(folder: Path) -> Verified:
    """What `verify` finds in the folder itself; the shards of a remote store are looked after by `repair_remote`."""
    return verify(folder) if _points(folder) is None else verify_metadata(folder)


def _points(folder: Path) -> str | None:
    """The address that a folder stands for; None if it stands for none, or its pointer is damaged."""
    try:
        return pointed(folder)
    except StoreError:
        return None


def _of_other_format(folder: Path) -> bool:
    try:
        attributes = json.loads((folder / "zarr.json").read_text(encoding="utf-8"))["attributes"]
        return format_of(attributes["fingerprint"]) != FORMAT_VERSION
    except (OSError, ValueError, KeyError, TypeError):
        return True


def _manifest(folder: Path) -> Manifest | None:
    try:
        return read_manifest(folder)
    except StoreError:
        return None


def _scratch_folders(folder: Path, manifest: Manifest | None) -> list[Path]:
    """Where the shards of the store are kept; all scratch folders if no file tells whose features it holds."""
    if manifest is not None:
        return [scratch_folder(manifest.fingerprint)]
    try:
        attributes = json.loads((folder / "zarr.json").read_text(encoding="utf-8"))["attributes"]
        return [scratch_folder(str(attributes["fingerprint"]["digest"]))]
    except (OSError, ValueError, KeyError, TypeError):
        return sorted(p for p in (work_folder() / "scratch").glob("*") if p.is_dir())


def _scratch_named(folder: Path) -> str:
    """For a message: the scratch folder of the store at `folder`, or how to find it."""
    digests = needs_of(folder).fingerprints
    scratch = work_folder() / "scratch"
    return ", ".join(str(scratch / digest) for digest in sorted(digests)) or f"the folder in {scratch} is not known"
