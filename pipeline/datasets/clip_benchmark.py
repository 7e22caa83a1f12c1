"""A data set in CLIP_benchmark's webdataset layout: `<split>/0.tar ...`, class names or captions, templates.

The layout is that of its `build_wds_dataset` (PyPI clip-benchmark 1.6): `nshards.txt` in the folder of each split;
`classnames.txt` and a `.cls` number per sample for classification; `dataset_type.txt` that says `retrieval`, and a
`.txt` with a caption a line, for retrieval.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.config import ClipBenchmarkSource
from pipeline.datasets.babel import names_in_languages
from pipeline.datasets.concepts import class_concepts
from pipeline.datasets.raw_files import located, read_text
from pipeline.datasets.samples import Caption, Failure, Label, Sample, Source, split_named
from pipeline.datasets.tar_samples import TarSample, tar_samples
from pipeline.errors import DataError, SourceError

_PLACEHOLDER = "{c}"

Class = tuple[Label, Sequence[Caption]]


def clip_benchmark(spec: ClipBenchmarkSource) -> Source:
    """The samples of the named splits, where they lie in the archives.

    A class is a concept, and its names are the captions; a picture of a retrieval set is a concept of its own. The data
    set's own split is kept.

    Raises:
        SourceError: a file of the layout is missing or wrong.
    """
    folder = located(spec.path)
    kind = read_text(folder / "dataset_type.txt", "classification").strip().lower()
    if kind not in ("classification", "retrieval"):
        raise SourceError(f"{folder / 'dataset_type.txt'} says {kind!r}; only classification and retrieval are read.")
    names = _lines(folder / "classnames.txt") if kind == "classification" else []
    if kind == "classification" and not names:
        raise SourceError(f"{folder / 'classnames.txt'} is missing or empty; it names a class a line.")
    classes = named_classes(names)
    if spec.babel is not None:
        more = names_in_languages(located(spec.babel), spec.languages, len(names))
        classes = [(label, [*own, *other]) for (label, own), other in zip(classes, more, strict=True)]
    archives = [(split, archive) for split in spec.splits for archive in _archives(folder, split)]
    templates = [line.replace(_PLACEHOLDER, "{}") for line in _lines(folder / "zeroshot_classification_templates.txt")]
    about = {"path": str(folder), "kind": kind, "classnames": names, "templates": templates, "packages": {}}
    return Source(str(folder), _samples(archives, classes), about)


def named_classes(names: Sequence[str]) -> list[Class]:
    """The label of each class, and its name as an English caption."""
    concepts = class_concepts(names)
    return [(Label(concept, name), [Caption(name)]) for concept, name in zip(concepts, names, strict=True)]


def _samples(archives: Sequence[tuple[str, Path]], classes: Sequence[Class]) -> Iterator[Sample | Failure]:
    for split, archive in archives:
        for found in tar_samples(archive):
            if isinstance(found, Failure):
                yield replace(found, key=f"{split}/{found.key}")
                continue
            key = f"{split}/{archive.name}: {found.key}"
            try:
                labels, captions = _said(found, classes)
                yield Sample(found.key, found.picture(), captions, labels, split_named(split), found.problems, key)
            except DataError as error:
                yield Failure(key, str(error))


def _said(sample: TarSample, classes: Sequence[Class]) -> tuple[Sequence[Label], Sequence[Caption]]:
    if classes:
        label, captions = classes[class_number(sample, len(classes))]
        return [label], captions
    if "txt" not in sample.members:
        raise DataError("no .txt file with captions")
    captions = [Caption(line) for line in sample.members["txt"].text().splitlines() if line.strip()]
    if not captions:
        raise DataError("no caption")
    return [], captions


def class_number(sample: TarSample, classes: int) -> int:
    """The number in the .cls member of a sample.

    Raises:
        DataError: there is none, or no class has it.
    """
    if "cls" not in sample.members:
        raise DataError("no .cls file with the number of its class")
    written = sample.members["cls"].text().strip()
    if not written.isdecimal() or not written.isascii() or int(written) >= classes:
        raise DataError(f"class {written[:20]!r}; classnames.txt has the numbers 0 to {classes - 1}")
    return int(written)


def _archives(folder: Path, split: str) -> list[Path]:
    written = read_text(folder / split / "nshards.txt", "").strip()
    if not written.isdecimal() or int(written) < 1:
        there = sorted(path.parent.name for path in folder.glob("*/nshards.txt"))
        raise SourceError(
            f"{folder / split / 'nshards.txt'} does not say how many archives there are. "
            f"Splits found in {folder}: {', '.join(there) or 'none'}; see `splits` of this data set in params.yaml."
        )
    return [folder / split / f"{number}.tar" for number in range(int(written))]


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in read_text(path, "").splitlines() if line.strip()]
