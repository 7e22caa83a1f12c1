"""List the raw files of every data set, at every `dvc repro`: python -m stages.listing.

A listing (number, bytes, digest of paths, sizes and times) takes a second where hashing the files would take hours. The
index of a data set depends on its listing, and so runs when a file has come, gone or changed.
"""

import json
import logging
from pathlib import Path

from pipeline.config import ListingSettings
from pipeline.config.leftovers import leftovers
from pipeline.datasets.known import doubted
from pipeline.datasets.raw_files import listing as listing_of
from pipeline.files import write_json
from pipeline.paths import DATA, FOLDERS, LISTINGS, listing_file
from pipeline.work_folder import work_folder
from stages.entry import run

log = logging.getLogger(__name__)


def listing(settings: ListingSettings) -> None:
    """Write data/listing/<data set>.json, one per data set.

    Where raw files are not on this machine, as after `dvc pull`, the listing stays, so that nothing is indexed anew.
    One that was fetched and not checked out comes from DVC's cache.
    """
    for folder in FOLDERS:  # a dependency must be there, although nothing in params.yaml may fill it
        folder.mkdir(parents=True, exist_ok=True)
    changed_unseen = doubted(work_folder())
    for name, spec in settings.datasets.items():
        path = listing_file(name)
        found = listing_of(spec, changed_unseen)
        if found is None and (path.is_file() or _restored(path)):
            log.warning("%s: its raw files are not here; its index stays as it is", name)
        elif not path.is_file() or json.loads(path.read_text(encoding="utf-8")) != found:
            write_json(found, path)
    for path in LISTINGS.glob("*.json"):
        if path.stem not in settings.datasets:
            path.unlink()
    if ignored := ", ".join(map(str, leftovers(settings.named, DATA))):
        print(f"Left over from earlier parameters and ignored, to be removed by hand: {ignored}")


def _restored(path: Path) -> bool:
    """Bring a listing back from DVC's cache, as dvc.lock names it."""
    from pipeline.features.dvc_cache import cached_output
    from pipeline.features.scratch import link

    cached = cached_output("listing", LISTINGS)
    known = None if cached is None else cached.files.get(path.name)
    if known is None or not known.present:
        return False
    link(known.path, path)
    return True


if __name__ == "__main__":
    run(listing)
