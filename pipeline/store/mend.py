"""Repairs outputs that are no stores: heads, tables, results. DVC's cache restores them, or their stage runs again."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import StoreError
from pipeline.features.dvc_cache import cached_output
from pipeline.store.clean import clean_cache
from pipeline.store.locked import Output, locked_outputs
from pipeline.store.outputs import Compared, compare
from pipeline.store.run_dvc import run_dvc

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Mended:
    """What was done to an output.

    Attributes:
        before: how it was found.
        cache: objects removed from DVC's cache, since their content was not what their name says.
        how: the command that wrote it again, empty if nothing was wrong.
    """

    before: Compared
    cache: tuple[str, ...] = ()
    how: str = ""


def mend(output: Output) -> Mended:
    """Make an output what dvc.lock says, or what its stage makes of it now.

    Damaged objects of DVC's cache are removed first, as DVC would bring them back. What lies in the output and is no
    part of it stops the repair, since it may be the only copy.

    Raises:
        StoreError: it holds foreign files, or DVC failed, or it still differs afterwards.
    """
    before = compare(output)
    foreign = [damage.path for damage in before.damages if damage.kind == "foreign"]
    if foreign:
        raise StoreError(
            f"{output.path} holds files that do not belong to it: {', '.join(foreign[:5])}. Move them elsewhere or "
            "delete them, and repair again."
        )
    removed = clean_cache(output.stage, output.path)
    if before.same and not removed:
        return Mended(before)
    if before.same:
        how = f"commit --force {output.stage}"
    else:
        _remove(output.path, before)
        cached = _cached_whole(output)
        how = f"checkout --force {output.path}" if cached else f"repro --force --single-item {output.stage}"
    run_dvc(*how.split(" "))
    after = [compare(one) for one in locked_outputs() if (one.stage, one.path) == (output.stage, output.path)]
    if not after or not after[0].same:
        what = after[0].problem if after else "dvc.lock does not list it any more"
        raise StoreError(f"{output.path} is not as dvc.lock has it after `dvc {how}`: {what}.")
    return Mended(before, tuple(removed), f"dvc {how}")


def others(stores: Iterable[Path]) -> list[Output]:
    """The outputs in dvc.lock beside these."""
    left_out = set(stores)
    return [output for output in locked_outputs() if output.path not in left_out]


def _cached_whole(output: Output) -> bool:
    cached = cached_output(output.stage, output.path)
    if cached is None or not cached.listing.present:
        return False
    return not output.md5.endswith(".dir") or (
        bool(cached.files) and all(entry.present for entry in cached.files.values())
    )


def _remove(path: Path, found: Compared) -> None:
    """Remove damaged files, which DVC takes for those it knows by their time; others stay as they are."""
    for damage in found.damages:
        (path / damage.path).unlink(missing_ok=True)
    if path.is_file():
        path.unlink()
