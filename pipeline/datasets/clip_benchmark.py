"""A data set in CLIP_benchmark's webdataset layout: `<split>/0.tar ...`, class names or captions, templates.

The layout is that of its `build_wds_dataset` (PyPI clip-benchmark 1.6): `nshards.txt` in the folder of each split;
`classnames.txt` and a `.cls` number per sample for classification; `dataset_type.txt` with the word `retrieval`, and a
`.txt` with one caption per line, for retrieval.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.config import ClipBenchmarkSource
from pipeline.datasets.babel import names_in_languages
from pipeline.datasets.cells import lines_of
from pipeline.datasets.concepts import class_concepts
from pipeline.datasets.plain_files import Inside
from pipeline.datasets.raw_files import located, read_text
from pipeline.datasets.samples import Caption, Failure, Label, Sample, Source, split_named
from pipeline.datasets.tar_samples import TarSample, tar_samples
from pipeline.errors import DataError, SourceError

_PLACEHOLDER = "{c}"
_DIGITS = 9
_MOST_ARCHIVES = 1_000_000

Class = tuple[Label, Sequence[Caption]]


def clip_benchmark(spec: ClipBenchmarkSource) -> Source:
    """The samples of the named splits, read in place from the archives.

    A class is a concept, and its names are the captions; each picture of a retrieval set is its own concept. The data
    set's own split is kept.

    Raises:
        SourceError: a file of the layout is missing or wrong.
    """
    folder = located(spec.path)
    inside = Inside(folder, links=spec.links)
    kind = read_text(folder / "dataset_type.txt", "classification", inside).strip().lower()
    if kind not in ("classification", "retrieval"):
        raise SourceError(f"{folder / 'dataset_type.txt'} holds {kind!r}; expected classification or retrieval.")
    names = numbered_lines(read_text(folder / "classnames.txt", "", inside)) if kind == "classification" else []
    if kind == "classification" and not names:
        raise SourceError(f"{folder / 'classnames.txt'} is missing or empty; expected one class per line.")
    classes = named_classes(names)
    if spec.babel is not None:
        more = names_in_languages(located(spec.babel), spec.languages, len(names))
        classes = [(label, [*english, *other]) for (label, english), other in zip(classes, more, strict=True)]
    archives = [(split, archive) for split in spec.splits for archive in _archives(folder, split, inside)]
    written = read_text(folder / "zeroshot_classification_templates.txt", "", inside)
    templates = [line.replace(_PLACEHOLDER, "{}") for line in numbered_lines(written) if line]
    about = {"path": str(folder), "kind": kind, "classnames": names, "templates": templates, "packages": {}}
    left_out: Counter[str] = Counter()
    samples = _samples(archives, classes, inside, left_out)
    return Source(str(folder), samples, about, left_out, unit="members of tars")


def named_classes(names: Sequence[str]) -> list[Class]:
    """The label of each class, and its name as an English caption."""
    concepts = class_concepts(names)
    return [(Label(concept, name), [Caption(name)]) for concept, name in zip(concepts, names, strict=True)]


def _samples(
    archives: Sequence[tuple[str, Path]], classes: Sequence[Class], inside: Inside, left_out: Counter[str]
) -> Iterator[Sample | Failure]:
    for split, archive in archives:
        if reason := inside.wrong_with(archive):
            raise SourceError(f"{archive} is not read: {reason}.")
        for sample in tar_samples(archive, left_out):
            if isinstance(sample, Failure):
                yield replace(sample, key=f"{split}/{sample.key}")
            else:
                yield _sample(sample, f"{split}/{archive.name}: {sample.key}", split, classes)


def _sample(sample: TarSample, place: str, split: str, classes: Sequence[Class]) -> Sample | Failure:
    try:
        labels, captions = _labels_and_captions(sample, classes)
        picture = sample.picture()
    except DataError as error:
        return Failure(place, str(error), sample.files)
    return Sample(sample.key, picture, captions, labels, split_named(split), sample.problems, place, units=sample.files)


def _labels_and_captions(sample: TarSample, classes: Sequence[Class]) -> tuple[Sequence[Label], Sequence[Caption]]:
    if classes:
        label, captions = class_of(sample, classes)
        return [label], captions
    if "txt" not in sample.members:
        raise DataError(f"no .txt file with captions; {sample.found()}")
    captions = [Caption(line) for line in lines_of(sample.members["txt"].text()) if line.strip()]
    if not captions:
        raise DataError("no caption")
    return [], captions


def class_of(sample: TarSample, classes: Sequence[Class]) -> Class:
    """The class of the number in the .cls member of a sample.

    Raises:
        DataError: there is no such member, or no class has its number, or a name.
    """
    if "cls" not in sample.members:
        raise DataError(f"no .cls file with the number of its class; {sample.found()}")
    written = sample.members["cls"].text().strip()
    if not is_number(written) or int(written) >= len(classes):
        raise DataError(f"class {written[:20]!r}; classnames.txt has the numbers 0 to {len(classes) - 1}")
    label, captions = classes[int(written)]
    if not label.classname:
        raise DataError(f"class {written} has no name: line {int(written) + 1} of the class names is empty")
    return label, captions


def is_number(written: str) -> bool:
    """Whether a text is a whole number of at most nine digits: of a class, or of archives."""
    return written.isdecimal() and written.isascii() and len(written.lstrip("0")) <= _DIGITS


def _archives(folder: Path, split: str, inside: Inside) -> list[Path]:
    written = read_text(folder / split / "nshards.txt", "", inside).strip()
    if not is_number(written) or not 1 <= int(written) <= _MOST_ARCHIVES:
        splits = sorted(path.parent.name for path in folder.glob("*/nshards.txt"))
        raise SourceError(
            f"{folder / split / 'nshards.txt'} does not hold the number of archives, 1 to {_MOST_ARCHIVES:,}. "
            f"Splits found in {folder}: {', '.join(splits) or 'none'}; see `splits` of this data set in params.yaml."
        )
    return [folder / split / f"{number}.tar" for number in range(int(written))]


def numbered_lines(text: str) -> list[str]:
    """The lines of a list in which the place counts: an empty one keeps its place, except at the end."""
    return [line.strip() for line in lines_of(text.rstrip())]
