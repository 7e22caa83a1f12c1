"""Pictures in folders: the folder is the class, or captions are beside each picture."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.config import ImageFolderSource
from pipeline.datasets.babel import names_in_languages
from pipeline.datasets.cells import lines_of
from pipeline.datasets.clip_benchmark import Class, named_classes
from pipeline.datasets.raw_files import located, read_text, walk
from pipeline.datasets.samples import Caption, Label, Picture, Sample, Source, split_named
from pipeline.datasets.tar_samples import PICTURES
from pipeline.errors import SourceError


def image_folder(spec: ImageFolderSource) -> Source:
    """Every picture under the folder, by name or by time.

    Raises:
        SourceError: the folder or a file that it needs is missing or wrong.
    """
    root = located(spec.path)
    if not root.is_dir():
        raise SourceError(f"No folder at {root}. See `path` of this data set in params.yaml.")
    tops = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    splits = bool(tops) and all(split_named(name) for name in tops)
    roots = [root / name for name in tops] if splits else [root]
    classes = _classes(spec, roots) if spec.labels == "folder" else {}
    ignored: Counter[str] = Counter()
    about = {"path": str(root), "classnames": [label.classname for label, _ in classes.values()], "ignored": ignored}
    samples = _samples(spec, root, splits, classes, ignored)
    return Source(str(root), samples, {**about, "packages": {}})


def _classes(spec: ImageFolderSource, roots: Sequence[Path]) -> dict[str, Class]:
    """The class of each folder: its label and its names in all languages."""
    folders = sorted({e.name for r in roots for e in r.iterdir() if e.is_dir() and not e.name.startswith(".")})
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
            content = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
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
    spec: ImageFolderSource, root: Path, splits: bool, classes: dict[str, Class], ignored: Counter[str]
) -> Iterator[Sample]:
    for path in _pictures(root, spec.order, ignored):
        parts = path.relative_to(root).parts
        split = split_named(parts[0]) if splits else None
        inner = parts[1:] if splits else parts
        labels: list[Label] = []
        captions: list[Caption] = []
        problems: list[str] = []
        if len(inner) > 1 and inner[0] in classes:
            label, captions = classes[inner[0]][0], list(classes[inner[0]][1])
            labels = [label]
        if spec.captions == "beside":
            captions = []
            try:
                lines = lines_of(read_text(path.with_suffix(".txt")))
                captions = [Caption(line, spec.language) for line in lines if line.strip()]
                problems = [] if captions else [f"{path.with_suffix('.txt').name} is empty"]
            except SourceError as error:
                problems = [str(error)]
        yield Sample("/".join(parts), Picture(path), captions, labels, split, problems)


def _pictures(root: Path, order: str, ignored: Counter[str]) -> Iterator[Path]:
    if order == "time":
        timed = []
        for entry in walk(root):
            if _is_picture(entry.name, ignored):
                timed.append((entry.stat(follow_symlinks=Path(entry.path).exists()).st_mtime_ns, entry.path))
        yield from (Path(path) for _, path in sorted(timed))
        return
    for entry in walk(root):
        if _is_picture(entry.name, ignored):
            yield Path(entry.path)


def _is_picture(name: str, ignored: Counter[str]) -> bool:
    suffix = name.rpartition(".")[2].lower() if "." in name else ""
    if suffix in PICTURES:
        return True
    ignored[suffix] += 1
    return False
