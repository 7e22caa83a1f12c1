"""Raw files as params.yaml names them: paths, globs and braces, and a listing that shows whether any has changed."""

import glob
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import xxhash

from pipeline.config import DatasetSpec, HubSource
from pipeline.datasets.samples import readable
from pipeline.datasets.tar_samples import PICTURES
from pipeline.errors import SourceError

_PATHS = ("path", "images", "annotations", "classnames", "babel", "captions", "descriptions")
_MISSING = "missing"
_SYSTEM = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found", "Thumbs.db", "desktop.ini")


def located(written: str) -> Path:
    """The absolute path that params.yaml means; `~` is the user's folder."""
    return Path(written).expanduser().resolve()


def shown(written: str | Sequence[str]) -> str:
    """One or several paths of params.yaml, for messages."""
    return written if isinstance(written, str) else ", ".join(written)


def matching(written: str | Sequence[str]) -> list[Path]:
    """All files that paths, globs (`*`, `**`, `?`, `[ab]`) and braces (`{000..099}.tar`) name, each once.

    Patterns keep their order; what a pattern matches is sorted, so that a file whose name sorts last is appended.

    Raises:
        SourceError: a pattern matches no file, or a brace is not closed.
    """

    files: dict[Path, None] = {}
    for pattern in (written,) if isinstance(written, str) else written:
        files |= dict.fromkeys(file for one in _expanded(pattern) for file in _globbed(one))
    return list(files)


def _expanded(pattern: str) -> list[str]:
    from braceexpand import braceexpand

    there, rest = _parted(pattern)
    try:
        return [str(there / one) for one in braceexpand(rest)] if rest else [str(there)]
    except ValueError as error:
        raise SourceError(f"{pattern!r} in params.yaml has a brace that is not closed: {error}") from error


def _parted(pattern: str) -> tuple[Path, str]:
    """What exists of a path, where signs of patterns are part of names (`laion [256px]`), and the pattern behind it."""
    path = located(pattern)
    there = next(parent for parent in (path, *path.parents) if os.path.lexists(parent))
    return there, str(path.relative_to(there)) if there != path else ""


def _globbed(pattern: str) -> list[Path]:
    path = located(pattern)
    files = [path] if path.is_file() else []
    there, rest = _parted(pattern)
    if not files and glob.has_magic(rest):
        names = sorted(glob.glob(f"{glob.escape(str(there))}/{rest}", recursive=True))  # noqa: PTH207
        files = [Path(name) for name in names if Path(name).is_file()]
    if not files:
        hint = f" It is a folder; write a pattern, such as {path}/*.tar" if path.is_dir() else ""
        raise SourceError(f"No file matches {str(path)!r}.{hint} See this data set in params.yaml.")
    return files


def read_text(path: Path, default: str | None = None) -> str:
    """A small file as UTF-8 text, without a byte order mark; `default` if it is not there.

    Raises:
        SourceError: it cannot be read, or is not valid UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")  # no other sign is taken for a line end
    except FileNotFoundError as error:
        if default is not None:
            return default
        raise SourceError(f"No file at {path}. See this data set in params.yaml.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path} cannot be read as UTF-8 text: {error}") from error


def read_json(path: Path) -> Any:
    """A file as JSON.

    Raises:
        SourceError: it cannot be read, or is not valid JSON.
    """
    try:
        return json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise SourceError(f"{path} is not valid JSON: {error}") from error


def walk(
    folder: Path, above: frozenset[tuple[int, int]] = frozenset(), left_out: Counter[str] | None = None
) -> Iterator[os.DirEntry[str]]:
    """Every file under `folder`: of each folder its files by name, then its subfolders.

    Links are followed, but not in circles. Hidden entries and `__MACOSX`, which holds nothing else, are skipped, and so
    is whatever is neither file nor folder, such as a pipe; a broken link is listed as a file.

    Args:
        left_out: counts what is skipped, by reason.
    """
    stat = folder.stat()
    if (stat.st_dev, stat.st_ino) in above:
        return
    try:
        entries = os.scandir(folder)
    except OSError as error:
        raise SourceError(f"{folder} cannot be listed: {error.strerror}") from error
    with entries:
        listed = sorted(entries, key=lambda entry: entry.name)
    for entry in listed:
        if entry.is_dir() or hidden(entry.name):
            continue
        if entry.is_file() or (entry.is_symlink() and not Path(entry.path).exists()):
            yield entry
        elif left_out is not None:
            left_out["neither a file nor a folder"] += 1
    for entry in listed:
        if hidden(entry.name):
            if left_out is not None:
                left_out["hidden"] += sum(len(files) for *_, files in os.walk(entry.path)) if entry.is_dir() else 1
        elif entry.is_dir():
            yield from walk(Path(entry.path), above | {(stat.st_dev, stat.st_ino)}, left_out)


def hidden(name: str) -> bool:
    """Whether a file or folder is no part of the data: `._x.jpg`, `.DS_Store`, `__MACOSX`."""
    return name.startswith(".") or name in _SYSTEM


def pictures_in(folder: Path, left_out: Counter[str]) -> list[Path]:
    """The files of a folder that are pictures by name, sorted; what else is there is counted by reason.

    Raises:
        SourceError: the folder cannot be listed.
    """
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.is_dir())
    except OSError as error:
        raise SourceError(f"{folder} cannot be listed: {error.strerror}") from error
    return [entry for entry in entries if is_picture(entry.name, left_out)]


def is_picture(name: str, left_out: Counter[str]) -> bool:
    """Whether a file is a picture by the ending of its name, in either case; else it is counted by that ending."""
    if hidden(name):
        left_out["hidden"] += 1
        return False
    ending = name.rpartition(".")[2].lower() if "." in name else ""
    if ending in PICTURES:
        return True
    left_out[f"no picture: .{readable(ending)}" if ending else "no picture: without an ending"] += 1
    return False


def listing(spec: DatasetSpec, doubted: Mapping[str, int] | None = None) -> dict[str, Any] | None:
    """Number, bytes and digest of the raw files of a data set: of their paths, sizes and modification times.

    No file is opened. None if they are not on this machine; a data set without raw files has an empty listing.

    Args:
        doubted: how often files turned out to have changed although size and time had not, by path.
    """
    known = doubted or {}
    digest, files, size = xxhash.xxh3_128(), 0, 0
    for root in _roots(spec):
        if not root.exists():
            return None
        for path, stat in _stats(root):
            line = f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
            if times := known.get(path):
                digest.update(f"changed unseen {times} times\n".encode())
            files += 1
            size += stat.st_size
    return {"source": spec.source, "files": files, "bytes": size, "digest": digest.hexdigest()}


def _stats(root: Path) -> Iterator[tuple[str, os.stat_result]]:
    if root.is_dir():
        for entry in walk(root):
            yield entry.path, entry.stat(follow_symlinks=Path(entry.path).exists())
    else:
        yield str(root), root.stat()


def _roots(spec: DatasetSpec) -> Iterator[Path]:
    """The files and folders that an entry of params.yaml names."""
    for name in _PATHS:
        written = getattr(spec, name, None)
        for one in (written,) if isinstance(written, str) else written or ():
            if name == "captions" or (isinstance(spec, HubSource) and not located(one).exists()):
                continue  # a table inside `path`, or a name on the hub
            if located(one).exists():
                yield located(one)
                continue
            try:
                yield from matching(one)
            except SourceError:
                yield Path(_MISSING)
