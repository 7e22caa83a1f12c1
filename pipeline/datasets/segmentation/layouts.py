"""Layouts of segmentation data sets on disk: which picture has which label map, and what the values mean."""

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.config import SegmentationSource
from pipeline.datasets.cells import shortened
from pipeline.datasets.plain_files import Inside
from pipeline.datasets.raw_files import located, pictures_in, read_text
from pipeline.datasets.segmentation.names import CONTEXT, LANGUAGES, VOC
from pipeline.errors import SourceError
from pipeline.languages import language_code

KINDS = ("class", "background", "void")
_MOST_VALUES = 1 << 20  # of a label map; tables by value are kept in memory
_ADE20K_SPLITS = {"val": "validation", "train": "training"}


@dataclass(frozen=True)
class ClassName:
    """What a value of the label maps means: a row of classes.parquet."""

    value: int
    classname: str
    kind: str = "class"
    language: str = "en"


@dataclass(frozen=True)
class Sample:
    """A picture and its label map, which may turn out to be missing; `scene` is a category of the whole picture."""

    key: str
    picture: Path
    mask: Path
    scene: str | None = None


@dataclass(frozen=True)
class Layout:
    """Samples in the order of the data set's own list, the names of its values, and what lies beside the samples.

    No file of it may lead out of `inside`.
    """

    split: str
    samples: Sequence[Sample]
    classes: Sequence[ClassName]
    inside: Inside
    left_out: Counter[str] = field(default_factory=Counter)


def read_layout(spec: SegmentationSource) -> Layout:
    """The samples and classes of a data set, by the layout that `spec.source` names.

    Raises:
        SourceError: the folder, its list or its table of classes is missing or wrong.
    """
    folder = located(spec.path)
    layouts: dict[str, Callable[[SegmentationSource, Path, Inside], Layout]] = {
        "voc": _voc,
        "pascal-context": _context,
        "ade20k": _ade20k,
        "mask-folder": _mask_folder,
    }
    return layouts[spec.source](spec, folder, Inside(folder, links=spec.links))


def _voc(spec: SegmentationSource, folder: Path, inside: Inside) -> Layout:
    """`VOCdevkit/VOC2012`: 0 is background, 1 to 20 the classes, 255 the border around objects."""
    classes = [ClassName(0, "background", "background"), ClassName(255, "border", "void")]
    for value, names in enumerate(VOC, start=1):
        classes += [ClassName(value, name, language=code) for code, name in zip(LANGUAGES, names, strict=True)]
    return _listed(folder, "Segmentation", "SegmentationClass", spec.split or "val", classes, inside)


def _context(spec: SegmentationSource, folder: Path, inside: Inside) -> Layout:
    """`VOCdevkit/VOC2010` with label maps of 59 classes, as mmsegmentation's conversion writes them: 0 is the rest."""
    classes = [ClassName(0, "background", "background"), ClassName(255, "border", "void")]
    classes += [ClassName(value, name) for value, name in enumerate(CONTEXT, start=1)]
    return _listed(folder, "SegmentationContext", "SegmentationClassContext", spec.split or "val", classes, inside)


def _ade20k(spec: SegmentationSource, folder: Path, inside: Inside) -> Layout:
    """`ADEChallengeData2016`: 1 to 150 are the classes of objectInfo150.txt, 0 is the rest and does not count."""
    split = _ADE20K_SPLITS.get(spec.split or "val", spec.split or "")
    classes = [ClassName(0, "other", "void")]
    table = folder / "objectInfo150.txt"
    for line in _lines(table, inside, "a line per class: Idx, Ratio, Train, Val, Name, with tabs between them")[1:]:
        value, *_, names = [*line.split("\t"), ""] if "\t" not in line else line.split("\t")
        if not _is_value(value.strip()) or not names.strip():
            raise SourceError(f"{table}: expected a class number, columns and names in {shortened(line)!r}")
        written = [name.strip() for name in names.split(",")]
        classes += [ClassName(int(value), name) for name in (written if spec.synonyms else written[:1])]
    scenes: dict[str, str] = {}
    if (folder / "sceneCategories.txt").is_file():
        lines = _lines(folder / "sceneCategories.txt", inside, "a picture and its scene per line")
        scenes = dict(line.split()[:2] for line in lines if len(line.split()) > 1)
    masks = folder / "annotations" / split
    left_out: Counter[str] = Counter()
    pictures = _pictures(folder / "images" / split, left_out)
    if not pictures:
        found = ", ".join(f"{number} x {reason}" for reason, number in left_out.items())
        raise SourceError(
            _expected(folder, f"images/{split}/*.jpg and annotations/{split}/*.png", found or "no picture")
        )
    samples = [Sample(p.stem, p, _cased(masks / f"{p.stem}.png"), scenes.get(p.stem)) for p in pictures]
    return Layout(split, samples, classes, inside, left_out)


def _pictures(folder: Path, left_out: Counter[str]) -> list[Path]:
    return pictures_in(folder, left_out) if folder.is_dir() else []


def _cased(path: Path) -> Path:
    """The path, or the one whose ending is in capitals where only that exists."""
    upper = path.with_suffix(path.suffix.upper())
    return upper if upper.is_file() and not path.is_file() else path


def _mask_folder(spec: SegmentationSource, folder: Path, inside: Inside) -> Layout:
    """`images/`, `masks/<the same name>.png` and `classes.csv` (value,classname and optionally kind,language)."""
    classes = list(_class_table(folder / "classes.csv", inside))
    names = None
    if spec.split:
        names = set(_lines(folder / f"{spec.split}.txt", inside, "a file name without its ending per line"))
    left_out: Counter[str] = Counter()
    pictures = _pictures(folder / "images", left_out)
    kept = [p for p in pictures if names is None or p.stem in names]
    if len(kept) < len(pictures):
        left_out[f"not in {spec.split}.txt"] += len(pictures) - len(kept)
    samples = [Sample(p.stem, p, _cased(folder / "masks" / f"{p.stem}.png")) for p in kept]
    if not samples:
        raise SourceError(_expected(folder, "images/, masks/ and classes.csv", f"{len(pictures)} pictures in images/"))
    return Layout(spec.split or "all", samples, classes, inside, left_out)


def _listed(folder: Path, lists: str, masks: str, split: str, classes: Sequence[ClassName], inside: Inside) -> Layout:
    """VOC's form: ImageSets/<lists>/<split>.txt names the pictures."""
    path = folder / "ImageSets" / lists / f"{split}.txt"
    if not path.is_file():
        splits = sorted(listed.stem for listed in path.parent.glob("*.txt"))
        form = f"JPEGImages/, {masks}/ and ImageSets/{lists}/{split}.txt"
        raise SourceError(_expected(folder, form, f"the splits {', '.join(splits) or 'none'}"))
    keys = [line.split()[0] for line in _lines(path, inside, "a picture per line")]
    pictures = folder / "JPEGImages"
    samples = [Sample(key, _cased(pictures / f"{key}.jpg"), _cased(folder / masks / f"{key}.png")) for key in keys]
    return Layout(split, samples, classes, inside)


def _class_table(path: Path, inside: Inside) -> Iterator[ClassName]:
    lines = _lines(path, inside, "the columns value,classname and optionally kind,language")
    reader = csv.DictReader(lines)
    try:
        header = [name.strip() for name in reader.fieldnames or ()]
    except csv.Error as error:
        raise SourceError(f"{path}, line 1: {error}.") from error
    if not {"value", "classname"} <= set(header) <= {"value", "classname", "kind", "language"}:
        raise SourceError(f"{path} has the columns {header}; expected value,classname and optionally kind,language.")
    if len(set(header)) < len(header):
        raise SourceError(f"{path} has a column twice: {header}.")
    reader.fieldnames = header
    for row in _rows(reader, path):
        value, kind = (row["value"] or "").strip(), (row.get("kind") or "").strip() or "class"
        if not _is_value(value) or kind not in KINDS or not (row["classname"] or "").strip():
            raise SourceError(
                f"{path}: {shortened(value)!r}, {shortened(row['classname'] or '')!r}, {shortened(kind)!r} is not a "
                f"whole number below {_MOST_VALUES}, a name and one of {', '.join(KINDS)}."
            )
        code = (row.get("language") or "").strip() or "en"
        yield ClassName(int(value), row["classname"].strip(), kind, language_code(code) or code)


def _rows(reader: "csv.DictReader[str]", path: Path) -> Iterator[dict[str, str]]:
    try:
        yield from reader
    except csv.Error as error:
        raise SourceError(f"{path}, line {reader.line_num}: {error}.") from error


def _is_value(written: str) -> bool:
    return (
        written.isdecimal()
        and written.isascii()
        and len(written) <= len(str(_MOST_VALUES))
        and (int(written) < _MOST_VALUES)
    )


def _lines(path: Path, inside: Inside, form: str) -> list[str]:
    try:
        text = read_text(path, inside=inside)
    except SourceError as error:
        raise SourceError(f"{error} Expected {form}.") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def _expected(folder: Path, form: str, found: str) -> str:
    return f"{folder}: expected {form}; found {found}. See `path` and `split` of this data set in params.yaml."
