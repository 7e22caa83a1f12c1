"""Raw files as params.yaml names them: paths, globs and braces, and a listing that shows whether any has changed."""

import contextlib
import fnmatch
import glob
import os
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

import xxhash

from pipeline.config import DatasetSpec, HubSource
from pipeline.config.further import FURTHER
from pipeline.datasets.further import reader
from pipeline.datasets.json_names import distinct, parsed
from pipeline.datasets.plain_files import MAX_JSON, MAX_LIST, Inside, Links, exists, is_file, is_folder, read_unpacked
from pipeline.datasets.samples import Failure, readable
from pipeline.datasets.tar_samples import PICTURES
from pipeline.datasets.walk import hidden, walk
from pipeline.errors import SourceError

_PATHS = ("path", "images", "sounds", "annotations", "classnames", "babel", "captions", "descriptions")
_MISSING = "missing"
_MOST_NAMES = 10_000_000  # that a pattern with braces stands for


def located(written: str) -> Path:
    """The absolute path that params.yaml means; `~` is the user's folder.

    Raises:
        SourceError: it is no path, for example since it holds a zero byte.
    """
    try:
        return Path(written).expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise SourceError(f"{readable(written)!r} in params.yaml is not a path: {error}") from error


def shown(written: str | Sequence[str]) -> str:
    """One or several paths of params.yaml, for messages."""
    return written if isinstance(written, str) else ", ".join(written)


def matching(written: str | Sequence[str], links: Links = "inside", refused: list[Failure] | None = None) -> list[Path]:
    """All files that paths, globs (`*`, `**`, `?`, `[ab]`) and braces (`{000..099}.tar`) name, each once.

    Patterns keep their order; what a pattern matches is sorted, so that a file whose name sorts last is appended.

    Args:
        links: whether links that a glob matches may lead out of the folder before its first sign.
        refused: takes those that do and may not; without it they are left out in silence.

    Raises:
        SourceError: a pattern matches no file, or a brace is not closed.
    """
    files: dict[Path, str | None] = {}
    for pattern in (written,) if isinstance(written, str) else written:
        for one in _expanded(pattern):
            for file, reason in _globbed(one, links):
                files.setdefault(file, reason)
    if refused is not None:
        refused += [Failure(str(file), reason) for file, reason in files.items() if reason is not None]
    good = [file for file, reason in files.items() if reason is None]
    if not good:
        file, reason = next(iter(files.items()))
        raise SourceError(f"{shown(written)}: {file} is {reason}.")
    return good


def _expanded(pattern: str) -> list[str]:
    from braceexpand import braceexpand

    there, rest = _parted(pattern)
    try:
        names = list(islice(braceexpand(rest), _MOST_NAMES + 1)) if rest else [""]
    except ValueError as error:
        raise SourceError(f"{pattern!r} in params.yaml has a brace that is not closed: {error}") from error
    if len(names) > _MOST_NAMES:
        raise SourceError(f"{pattern!r} in params.yaml stands for more than {_MOST_NAMES:,} names.")
    return [str(there / name) for name in names]


def _parted(pattern: str) -> tuple[Path, str]:
    """What exists of a path, where signs of patterns are part of names (`laion [256px]`), and the pattern behind it."""
    path = located(pattern)
    there = next(parent for parent in (path, *path.parents) if os.path.lexists(parent))
    return there, str(path.relative_to(there)) if there != path else ""


def _globbed(pattern: str, links: Links) -> list[tuple[Path, str | None]]:
    """Files, each with the reason why it is not read, if there is one."""
    path = located(pattern)
    files: list[tuple[Path, str | None]] = [(path, None)] if is_file(path) else []
    there, rest = _parted(pattern)
    if not files and glob.has_magic(rest):
        inside = Inside(there, links=links)
        patterns = rest.split("/")
        if "**" in patterns:
            return _found_below(there, patterns, inside) or _no_file(path)
        names = sorted(glob.glob(f"{glob.escape(str(there))}/{rest}"))  # noqa: PTH207
        files = [(Path(name), inside.wrong_with(name)) for name in names if is_file(name)]
    return files or _no_file(path)


def _no_file(path: Path) -> NoReturn:
    hint = f" It is a folder; write a pattern, such as {path}/*.tar" if is_folder(path) else ""
    raise SourceError(f"No file matches {str(path)!r}.{hint} See this data set in params.yaml.")


def _found_below(folder: Path, patterns: Sequence[str], inside: Inside) -> list[tuple[Path, str | None]]:
    """As `_globbed`, for patterns with `**`; unlike `glob` it neither follows links out nor in circles."""
    refused: list[tuple[Path, str | None]] = []
    entries = walk(folder, inside, refuse=lambda path, reason: refused.append((Path(path), reason)))
    paths = [Path(entry.path) for entry in entries]
    matched = sorted(str(path) for path in paths if _matches(path.relative_to(folder).parts, patterns))
    return [(Path(name), inside.wrong_with(name)) for name in matched if is_file(name)] + refused


def _matches(parts: Sequence[str], patterns: Sequence[str]) -> bool:
    """Whether the parts of a path are as patterns say; `**` stands for any number of them."""
    if not patterns:
        return not parts
    if patterns[0] == "**":
        return any(_matches(parts[start:], patterns[1:]) for start in range(len(parts) + 1)) or len(patterns) == 1
    return bool(parts) and fnmatch.fnmatchcase(parts[0], patterns[0]) and _matches(parts[1:], patterns[1:])


def read_text(path: Path, default: str | None = None, inside: Inside | None = None, limit: int = MAX_LIST) -> str:
    """A small file as UTF-8 text, without a byte order mark; `default` if it is not there.

    Args:
        inside: what it may not lead out of.
        limit: the most bytes that it may have.

    Raises:
        SourceError: it cannot be read, is too large, or is not valid UTF-8.
    """
    if inside is not None and (reason := inside.wrong_with(path)):
        raise SourceError(f"{path} is not read: {reason}")
    try:
        content = read_unpacked(path, limit)
        return content.decode("utf-8-sig").replace("\r\n", "\n")  # no other sign is taken for a line end
    except FileNotFoundError as error:
        if default is not None:
            return default
        raise SourceError(f"No file at {path}. See this data set in params.yaml.") from error
    except (OSError, EOFError, ValueError, zlib.error) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise SourceError(f"{path} cannot be read as UTF-8 text: {reason}") from error
    except MemoryError as error:
        raise SourceError(f"{path} cannot be read: the memory does not suffice") from error


def read_json(path: Path, inside: Inside | None = None, limit: int = MAX_JSON, entries: bool = False) -> Any:
    """A file as JSON; arguments as of `read_text`.

    Args:
        entries: names that stand several times in an object are left to the caller, see `repeated_in`.

    Raises:
        SourceError: it cannot be read, is too large, is not valid JSON, or names something twice.
    """
    try:
        text = read_text(path, inside=inside, limit=limit)
        return parsed(text)[0] if entries else distinct(text)
    except (ValueError, RecursionError) as error:  # also a number of more than 4300 digits
        raise SourceError(f"{path} is not valid JSON: {error}") from error
    except MemoryError as error:
        raise SourceError(f"{path} cannot be read: the memory does not suffice") from error


def pictures_in(folder: Path, left_out: Counter[str]) -> list[Path]:
    """The files of a folder that are pictures by name, sorted; what else is there is counted by reason.

    Raises:
        SourceError: the folder cannot be listed.
    """
    entries = sorted(entry for entry in listed(folder) if not is_folder(entry))
    return [entry for entry in entries if is_picture(entry.name, left_out)]


def listed(folder: Path) -> list[Path]:
    """What is in a folder, in no order.

    Raises:
        SourceError: it cannot be listed.
    """
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise SourceError(f"{folder} cannot be listed: {error.strerror}") from error


def is_picture(name: str, left_out: Counter[str]) -> bool:
    """Whether a file is a picture by the ending of its name, in either case; else it is counted by that ending."""
    if hidden(name):
        left_out["hidden"] += 1
        return False
    return _ends_as(PICTURES, "picture", name, left_out)


def is_further(modality: str, name: str, left_out: Counter[str]) -> bool:
    """As `is_picture`, of a sample of a further modality."""
    if hidden(name):
        left_out["hidden"] += 1
        return False
    return _ends_as(reader(modality).ENDINGS, FURTHER[modality].called, name, left_out)


def is_sound(name: str, left_out: Counter[str]) -> bool:
    """As `is_picture`, of a sound."""
    return is_further("audio", name, left_out)


def _ends_as(kinds: Sequence[str], called: str, name: str, left_out: Counter[str]) -> bool:
    ending = name.rpartition(".")[2].lower() if "." in name else ""
    if ending in kinds:
        return True
    left_out[f"no {called}: .{readable(ending)}" if ending else f"no {called}: without an ending"] += 1
    return False


def listing(spec: DatasetSpec, doubted: Mapping[str, int] | None = None) -> dict[str, Any] | None:
    """Number, bytes and digest of the raw files of a data set: of their paths, sizes and modification times.

    No file is opened. None if they are not on this machine; a data set without raw files has an empty listing.

    Args:
        doubted: how often files turned out to have changed although size and time had not, by path.
    """
    known = doubted or {}
    digest, files, size = xxhash.xxh3_128(), 0, 0
    links: Links = getattr(spec, "links", "inside")
    for root in _roots(spec, links):
        if not exists(root):
            return None
        for path, stat in _stats(root, links):
            line = f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
            if times := known.get(path):
                digest.update(f"changed unseen {times} times\n".encode())
            files += 1
            size += stat.st_size
    return {"source": spec.source, "files": files, "bytes": size, "digest": digest.hexdigest()}


def _stats(root: Path, links: Links) -> Iterator[tuple[str, os.stat_result]]:
    """Path and state of each file; one that vanishes meanwhile is none."""
    if root.is_dir():
        inside = Inside(root, links=links)
        for entry in walk(root, inside):
            followed = not entry.is_symlink() or (exists(entry.path) and inside.wrong_with(entry.path) is None)
            with contextlib.suppress(FileNotFoundError):
                yield entry.path, entry.stat(follow_symlinks=followed)
    else:
        with contextlib.suppress(FileNotFoundError):
            yield str(root), root.stat()


def _roots(spec: DatasetSpec, links: Links) -> Iterator[Path]:
    """The files and folders that an entry of params.yaml names."""
    for name in _PATHS:
        written = getattr(spec, name, None)
        for one in (written,) if isinstance(written, str) else written or ():
            if name == "captions" or (isinstance(spec, HubSource) and not exists(located(one))):
                continue  # a table inside `path`, or a name on the hub
            path = located(one)
            if exists(path):
                yield path
                continue
            try:
                yield from matching(one, links)
            except SourceError:
                yield Path(_MISSING)
