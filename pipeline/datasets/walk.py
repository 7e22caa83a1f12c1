"""Every file under a folder, in an order that appending keeps; what vanishes meanwhile is not there."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.datasets.plain_files import Inside, exists
from pipeline.errors import SourceError

_SYSTEM = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found", "Thumbs.db", "desktop.ini")
_Above = frozenset[tuple[int, int]]  # device and inode of the folders that a folder is in


def walk(
    folder: Path,
    inside: Inside,
    left_out: Counter[str] | None = None,
    refuse: Callable[[str, str], None] | None = None,
) -> Iterator[os.DirEntry[str]]:
    """Every file under `folder`: of each folder its files by name, then its subfolders.

    Links are followed within `inside`, but not in circles; a linked file is listed wherever it leads. Hidden entries
    and `__MACOSX`, which holds nothing else, are skipped, and so is whatever is neither file nor folder, such as a
    pipe; a broken link is listed as a file.

    Args:
        left_out: counts what is skipped, by reason.
        refuse: is told the path of a folder inside that is not read, and why.

    Raises:
        SourceError: `folder` cannot be listed.
    """
    return _walk(folder, inside, Counter() if left_out is None else left_out, refuse or _ignore, frozenset())


def hidden(name: str) -> bool:
    """Whether a file or folder is no part of the data: `._x.jpg`, `.DS_Store`, `__MACOSX`."""
    return name.startswith(".") or name in _SYSTEM


def _walk(
    folder: Path, inside: Inside, left_out: Counter[str], refuse: Callable[[str, str], None], above: _Above
) -> Iterator[os.DirEntry[str]]:
    try:
        stat = folder.stat()
        if (stat.st_dev, stat.st_ino) in above:
            return
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        if not above:
            raise SourceError(f"{folder} cannot be listed: {error.strerror}") from error
        if not isinstance(error, FileNotFoundError):  # it vanished meanwhile
            refuse(str(folder), f"the folder cannot be listed: {error.strerror}")
        return
    folders = []
    for entry in listed:
        if hidden(entry.name):
            left_out["hidden"] += _files_in(entry)
        elif _is(entry.is_dir):
            folders.append(entry)
        elif _is(entry.is_file) or (entry.is_symlink() and not exists(entry.path)):
            yield entry
        else:
            left_out["neither a file nor a folder"] += 1
    for entry in folders:
        reason = inside.wrong_with(entry.path) if entry.is_symlink() else None
        if reason is None:
            yield from _walk(Path(entry.path), inside, left_out, refuse, above | {(stat.st_dev, stat.st_ino)})
        else:
            refuse(entry.path, reason)


def _is(kind: Callable[[], bool]) -> bool:
    """Whether an entry is a file, or a folder; a link in a circle is neither."""
    try:
        return kind()
    except OSError:
        return False


def _files_in(entry: os.DirEntry[str]) -> int:
    """The number of files that are hidden by an entry; a link is one, wherever it leads."""
    if entry.is_symlink() or not _is(entry.is_dir):
        return 1
    return sum(len(files) for *_, files in os.walk(entry.path))


def _ignore(_path: str, _reason: str) -> None:
    """Nothing is told of what is not read."""
