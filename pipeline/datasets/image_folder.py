"""Pictures, or samples of another medium, in folders: the folder is the class, or captions are beside each file."""

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.config.audio_sources import AudioFolderSource, MediaFolderSource
from pipeline.config.further import FURTHER
from pipeline.config.raw_sources import FileFolder
from pipeline.datasets.babel import names_in_languages
from pipeline.datasets.cells import lines_of
from pipeline.datasets.clip_benchmark import Class, named_classes
from pipeline.datasets.json_names import distinct
from pipeline.datasets.nearest import same_file
from pipeline.datasets.plain_files import MAX_TEXT, Inside, is_folder
from pipeline.datasets.raw_files import is_further, is_picture, located, read_text
from pipeline.datasets.samples import Caption, Failure, Label, Picture, Sample, Source, readable, split_named
from pipeline.datasets.walk import hidden, walk
from pipeline.errors import SourceError


def image_folder(spec: FileFolder) -> Source:
    """Every picture under the folder, or sample of the modality that the entry names, by name or by time.

    Raises:
        SourceError: the folder or a file that it needs is missing or wrong.
    """
    root = located(spec.path)
    if not root.is_dir():
        raise SourceError(f"No folder at {root}. See `path` of this data set in params.yaml.")
    left_out: Counter[str] = Counter()
    inside = Inside(root, links=spec.links)
    try:
        splits, stray = _splits(root, inside, _kind(spec))
        roots = [root / name for name in splits] or [root]
        classes = _classes(spec, roots, inside) if spec.labels == "folder" else {}
    except OSError as error:
        raise SourceError(f"{error.filename or root} cannot be listed: {error.strerror}") from error
    about = {"path": str(root), "classnames": [label.classname for label, _ in classes.values()], "packages": {}}
    if stray:
        about["outside_of_splits"] = stray
    return Source(str(root), _samples(spec, root, splits, classes, left_out, inside), about, left_out, inside)


def _kind(spec: FileFolder) -> Callable[[str, Counter[str]], bool]:
    """Tells by its name whether a file is of the medium."""
    modality = _further(spec)
    return is_picture if modality is None else partial(is_further, modality)


def _further(spec: FileFolder) -> str | None:
    """The modality of the files; None of pictures."""
    if isinstance(spec, MediaFolderSource):
        return spec.modality
    return "audio" if isinstance(spec, AudioFolderSource) else None


def _splits(root: Path, inside: Inside, is_one: Callable[[str, Counter[str]], bool]) -> tuple[list[str], list[str]]:
    """The folders at the top that are splits, and the others with pictures; none if the top level is classes.

    It is splits if no other folder has a picture, or if there are several different ones (`train` and `val`; a class
    may be called `train`).
    """
    tops = sorted(name for name in _folders(root, inside) if not hidden(name))
    named = [name for name in tops if split_named(name)]
    none: Counter[str] = Counter()
    others = [name for name in tops if name not in named]
    stray = (
        [name for name in others if any(is_one(entry.name, none) for entry in walk(root / name, inside))]
        if named
        else []
    )
    if stray and len({split_named(name) for name in named}) < 2:
        return [], []
    return named, stray


def _folders(root: Path, inside: Inside) -> list[str]:
    """The names of the folders in a folder, but of links that lead out."""
    return [
        entry.name
        for entry in root.iterdir()
        if is_folder(entry) and not (entry.is_symlink() and inside.wrong_with(entry))
    ]


def _classes(spec: FileFolder, roots: Sequence[Path], inside: Inside) -> dict[str, Class]:
    """The class of each folder: its label and its names in all languages."""
    names_there = {name for root in roots for name in _folders(root, inside)}
    folders = sorted(name for name in names_there if not hidden(name) and readable(name) == name)
    written = {} if spec.classnames is None else _names(located(spec.classnames))
    if missing := [folder for folder in folders if written and folder not in written]:
        raise SourceError(f"{spec.classnames} does not name the folders {missing[:5]} of {spec.path}.")
    names = [written.get(folder, folder.replace("_", " ")) for folder in folders]
    classes = [
        (label, [Caption(name.text, spec.language) for name in captions]) for label, captions in named_classes(names)
    ]
    if spec.babel is not None:
        more = names_in_languages(located(spec.babel), spec.languages, len(folders))
        classes = [(label, [*captions, *other]) for (label, captions), other in zip(classes, more, strict=True)]
    return dict(zip(folders, classes, strict=True))


def _names(path: Path) -> dict[str, str]:
    """Folder -> class name: JSON, or lines of a folder, a space or tab, and its name up to the first comma."""
    text = read_text(path)
    if path.suffix.lower() == ".json":
        try:
            content = distinct(text)
        except (ValueError, RecursionError) as error:
            raise SourceError(f"{path} is not valid JSON: {error}") from error
        if not isinstance(content, dict):
            raise SourceError(f"{path}: expected a mapping of folders to names.")
        if wrong := [folder for folder, name in content.items() if not isinstance(name, str)]:
            raise SourceError(f"{path}: the name of {wrong[0]!r} is a {type(content[wrong[0]]).__name__}, not a text.")
        return content
    names = {}
    for number, line in enumerate(lines_of(text), start=1):
        folder, _, name = line.partition("\t") if "\t" in line else line.strip().partition(" ")
        if line.strip() and not name.strip():
            raise SourceError(f"{path}, line {number}: expected a folder and its name, found {line!r}.")
        if line.strip():
            names[folder.strip()] = name.split(",")[0].strip()
    return names


def _samples(
    spec: FileFolder,
    root: Path,
    splits: Sequence[str],
    classes: dict[str, Class],
    left_out: Counter[str],
    inside: Inside,
) -> Iterator[Sample | Failure]:
    refused: list[Failure] = []
    further = _further(spec)
    for path in _pictures(root, spec, left_out, inside, refused):
        parts = path.relative_to(root).parts
        if splits and parts[0] not in splits:
            yield Failure("/".join(parts), f"outside of the folders that are splits; they are {', '.join(splits)}")
            continue
        split = split_named(parts[0]) if splits else None
        inner = parts[1:] if splits else parts
        labels: list[Label] = []
        captions: list[Caption] = []
        lacks = f"looked for a folder that is its class; it lies in {path.parent}" if spec.labels == "folder" else ""
        if len(inner) > 1 and inner[0] in classes:
            label, captions = classes[inner[0]][0], list(classes[inner[0]][1])
            labels = [label]
        if spec.captions == "beside":
            captions, lacks = [], ""
            try:
                lines = lines_of(read_text(_beside(path), inside=inside, limit=MAX_TEXT))
                captions = [Caption(line, spec.language) for line in lines if line.strip()]
                lacks = "" if captions else f"{path.with_suffix('.txt').name} beside it is empty"
            except SourceError as error:
                lacks = str(error)
        problems = [f"no caption; {lacks}"] if lacks and labels and spec.captions == "beside" else []
        file = Picture(path)
        media: dict[str, Any] = {"picture": file} if further is None else {"further": file, "modality": further}
        yield Sample("/".join(parts), **{"picture": None} | media, captions=captions, labels=labels, split=split,
                     problems=problems, lacks=lacks)  # fmt: skip
    yield from refused


def _beside(picture: Path) -> Path:
    """The text beside a picture, which may be written in another Unicode form."""
    beside = picture.with_suffix(".txt")
    if not os.path.lexists(beside):
        with contextlib.suppress(OSError, ValueError):
            return same_file(beside) or beside
    return beside


def _pictures(
    root: Path, spec: FileFolder, left_out: Counter[str], inside: Inside, refused: list[Failure]
) -> Iterator[Path]:
    def refuse(path: str, reason: str) -> None:
        refused.append(Failure(str(Path(path).relative_to(root)), reason))

    found = (entry for entry in walk(root, inside, left_out, refuse) if _is_sample(entry.name, spec, left_out))
    if spec.order == "time":
        timed = [(_time(entry), entry.path) for entry in found]
        yield from (Path(path) for _, path in sorted(timed))
        return
    yield from (Path(entry.path) for entry in found)


def _time(entry: os.DirEntry[str]) -> int:
    """When a file was written; of a broken link, when the link was; 0 if it has vanished."""
    for follow in (True, False):
        with contextlib.suppress(OSError):
            return entry.stat(follow_symlinks=follow).st_mtime_ns
    return 0


def _is_sample(name: str, spec: FileFolder, left_out: Counter[str]) -> bool:
    if spec.captions == "beside" and name.lower().endswith(".txt"):
        modality = _further(spec)
        left_out[f"texts beside {'picture' if modality is None else FURTHER[modality].called}s"] += 1
        return False
    return _kind(spec)(name, left_out)
