"""Paths that do not exist as written: the same name in another Unicode form, or the nearest that exists."""

import difflib
import os
import unicodedata
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote

BACKSLASHES, ADDRESS = "backslashes are no separators here", "written as in an address"
_SIGNS = ("\\", "%", "file:/")
_NEAR = 0.8  # of difflib's ratio; below it a name is not like another
_EXPLAINED = 100  # of an index; the others are of the same kind as a rule
_COMPARED = 20_000  # names of a folder that are compared one by one


def same_file(path: Path) -> Path | None:
    """The file whose path differs only in its Unicode form (macOS writes NFD, most tables NFC), or None."""
    if str(path).isascii():
        return None
    found = Path(path.anchor)
    for part in path.relative_to(path.anchor).parts:
        if os.path.lexists(found / part):
            found /= part
            continue
        name = _forms(found).get(_nfc(part))
        if name is None:
            return None
        found /= name
    return found if found.is_file() else None


def may_be_another(path: Path) -> bool:
    """Whether `same_file` or `rewritten` could find the file of a path that does not exist, told without the disk."""
    return not str(path).isascii() or any(sign in str(path) for sign in _SIGNS)


def rewritten(path: Path) -> tuple[Path, str] | None:
    """The one file that a path means which is written for another system or as an address, and what sets it apart.

    Backslashes, `%20` and `file://` are read so where the path as it is written does not exist. None if no reading
    exists, or several do.
    """
    if not any(sign in str(path) for sign in _SIGNS):
        return None
    there = {other: how for other, how in reversed(_rewritten(path)) if other != path and other.is_file()}
    return next(iter(there.items())) if len(there) == 1 else None


def first_there(*paths: Path) -> Path:
    """The first of several paths that exists, in either Unicode form; else the first, for the message."""
    for path in paths:
        try:
            if path.exists():
                return path
            if there := same_file(path):
                return there
        except (OSError, ValueError):  # too long a name, a zero byte
            continue
    return paths[0]


class Missing:
    """Reasons that paths do not exist; of the first hundred also the nearest that exists, which takes a search."""

    def __init__(self) -> None:
        self._explained = 0

    def reason(self, path: Path) -> str:
        """Why a path does not exist, with what was looked for."""
        self._explained += 1
        if self._explained > _EXPLAINED:
            return f"no such file; looked for {path}"
        try:
            return f"no such file; looked for {path}{_hint(path)}"
        except (OSError, ValueError):
            return f"no such file; looked for {path}"


def _hint(path: Path) -> str:
    for other, why in _rewritten(path):
        if other != path and other.is_file():
            return f"; there is {other} ({why})"
    there = next(parent for parent in path.parents if parent.exists())
    missing = path.relative_to(there).parts[0]
    names = _names(there)
    for name in names:
        if name.casefold() == _nfc(missing).casefold():
            return f"; there is {there / name} (letter case)"
    close = difflib.get_close_matches(missing, names[:_COMPARED], n=1, cutoff=_NEAR)
    nearest = f"; the nearest is {there / close[0]}" if close else ""
    return nearest if there == path.parent else f"; there is no folder {there / missing}{nearest}"


def _rewritten(path: Path) -> list[tuple[Path, str]]:
    """Paths that may have been meant, and what sets them apart."""
    written = str(path)
    slashes = written.replace("\\", "/")
    found = [
        (Path(slashes), BACKSLASHES),
        (Path(unquote(written)), ADDRESS),
        (Path(unquote(slashes)), f"{BACKSLASHES}, {ADDRESS}"),
    ]
    if "file:/" in slashes:
        bare = "/" + slashes.rpartition("file:")[2].lstrip("/")
        found += [(Path(bare), "without file://"), (Path(unquote(bare)), "without file://")]
    return found


def _nfc(name: str) -> str:
    return unicodedata.normalize("NFC", name)


@lru_cache(maxsize=8)
def _listed(folder: Path, _changed: int) -> tuple[tuple[str, ...], dict[str, str]]:
    names = tuple(sorted(os.listdir(folder)))  # noqa: PTH208 (names alone)
    return names, {_nfc(name): name for name in names}


def _names(folder: Path) -> tuple[str, ...]:
    return _listed(folder, folder.stat().st_mtime_ns)[0]


def _forms(folder: Path) -> dict[str, str]:
    return _listed(folder, folder.stat().st_mtime_ns)[1] if folder.is_dir() else {}
