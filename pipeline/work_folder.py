"""The folder for everything that is kept between runs but is not an output: scratch shards, downloads and journals."""

import os
from pathlib import Path

from pipeline.paths import WORK_VARIABLE


def cache_folder() -> Path | None:
    """DVC's cache folder for the repository of the working directory, or None outside a DVC repository."""
    root = repository()
    if root is None:
        return None
    from dvc.config import Config

    configured = Config(str(root / ".dvc")).get("cache", {}).get("dir")
    return Path(configured) if configured else root / ".dvc" / "cache"


def work_folder() -> Path:
    """$PERMAFROST_WORK, else a folder beside DVC's cache, else one in the user's cache."""
    named = os.environ.get(WORK_VARIABLE)
    if named:
        return Path(named).resolve()
    cache = cache_folder()
    if cache is not None:
        return cache.parent / "permafrost"
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "permafrost"


def repository() -> Path | None:
    """The root of the DVC repository, found as DVC finds it, without the third of a second that importing it takes."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / ".dvc").is_dir():
            return folder
        if os.path.ismount(folder):
            return None
    return None
