"""A data set in CLIP_benchmark's webdataset layout: `<split>/0.tar ...`, class names or captions, templates.

The layout is that of its `build_wds_dataset` (PyPI clip-benchmark 1.6): `nshards.txt` in the folder of each split;
`classnames.txt` and a `.cls` number per sample for classification; `dataset_type.txt` that says `retrieval`, and a
`.txt` with a caption a line, for retrieval.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pipeline.config.schema import ClipBenchmarkSource
from pipeline.datasets.builder import IndexBuilder
from pipeline.datasets.concepts import concept_key
from pipeline.datasets.decode import decode_rgb
from pipeline.datasets.tar_samples import TarSample, tar_samples
from pipeline.errors import DataError, SourceError

_PICTURES = ("webp", "png", "jpg", "jpeg")
_SPLITS = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}
_PLACEHOLDER = "{c}"


def index_clip_benchmark(spec: ClipBenchmarkSource, builder: IndexBuilder) -> dict[str, Any]:
    """Feed every good sample of the named splits; a bad one becomes a failure with its archive, key and reason.

    Pictures are indexed where they lie in the archives. A class is a concept; a picture of a retrieval set is a concept
    of its own. The data set's own split is kept.

    Raises:
        SourceError: a file of the layout is missing or wrong, or no sample is good.
    """
    folder = Path(spec.path).expanduser().resolve()
    kind = _text(folder / "dataset_type.txt", "classification").strip().lower()
    if kind not in ("classification", "retrieval"):
        raise SourceError(f"{folder / 'dataset_type.txt'} says {kind!r}; only classification and retrieval are read.")
    names = _lines(folder / "classnames.txt") if kind == "classification" else []
    classes = list(zip(_concepts(names), names, strict=True))
    if kind == "classification" and not names:
        raise SourceError(f"{folder / 'classnames.txt'} is missing or empty; it names a class a line.")
    seen = 0
    for split in spec.splits:
        for archive in _archives(folder, split):
            for sample in tqdm(tar_samples(archive), desc=f"{folder.name}/{split}", unit="image", mininterval=1):
                if spec.limit and seen >= spec.limit:
                    break
                seen += 1
                try:
                    _feed(sample, archive, split, classes, builder)
                except DataError as error:
                    builder.fail(f"{split}/{archive.name}: {sample.key}", str(error))
    if not builder.counts["images"]:
        raise SourceError(f"{folder}: none of {seen} samples could be indexed. Reasons: {builder.first_failures()}")
    templates = [line.replace(_PLACEHOLDER, "{}") for line in _lines(folder / "zeroshot_classification_templates.txt")]
    return {"path": str(folder), "kind": kind, "classnames": names, "templates": templates, "packages": {}}


def _concepts(names: Sequence[str]) -> list[str]:
    """The concept of each class: the key that data sets share, or the name itself where two classes share that key."""
    keys = [concept_key(name) for name in names]
    common = {key for key, count in Counter(keys).items() if count > 1}
    return [name.lower() if key in common else key for name, key in zip(names, keys, strict=True)]


def _feed(
    sample: TarSample, archive: Path, split: str, classes: Sequence[tuple[str, str]], builder: IndexBuilder
) -> None:
    picture = next((sample.members[kind] for kind in _PICTURES if kind in sample.members), None)
    if picture is None:
        raise DataError(f"no picture ({', '.join(_PICTURES)}), only {', '.join(sample.members)}")
    size = decode_rgb(picture.content).size
    known = _SPLITS.get(split)
    where = {"offset": picture.offset, "length": len(picture.content)}
    if classes:
        concept, name = classes[_class_number(sample, len(classes))]
        image = builder.refer_to(archive, picture.content, size, sample.key, **where)
        builder.link(image, builder.add_text(name, "en"), "en")
        builder.label(image, concept, name, split=known)
        return
    captions = [line.strip() for line in _caption_file(sample).splitlines() if line.strip()]
    if not captions:
        raise DataError("no caption")
    image = builder.refer_to(archive, picture.content, size, sample.key, **where)
    for caption in captions:
        builder.link(image, builder.add_text(caption, "en"), "en")
    builder.label(image, image, split=known)


def _class_number(sample: TarSample, classes: int) -> int:
    if "cls" not in sample.members:
        raise DataError("no .cls file with the number of its class")
    written = sample.members["cls"].content.decode("ascii", errors="replace").strip()
    if not written.isdecimal() or int(written) >= classes:
        raise DataError(f"class {written!r}; classnames.txt has the numbers 0 to {classes - 1}")
    return int(written)


def _caption_file(sample: TarSample) -> str:
    if "txt" not in sample.members:
        raise DataError("no .txt file with captions")
    try:
        return sample.members["txt"].content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"captions are no UTF-8: {error}") from error


def _archives(folder: Path, split: str) -> list[Path]:
    written = _text(folder / split / "nshards.txt", "").strip()
    if not written.isdecimal() or int(written) < 1:
        there = sorted(path.parent.name for path in folder.glob("*/nshards.txt"))
        raise SourceError(
            f"{folder / split / 'nshards.txt'} does not say how many archives there are. "
            f"Splits found in {folder}: {', '.join(there) or 'none'}; see `splits` of this data set in params.yaml."
        )
    return [folder / split / f"{number}.tar" for number in range(int(written))]


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in _text(path, "").splitlines() if line.strip()]


def _text(path: Path, default: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return default
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path} cannot be read as UTF-8 text: {error}") from error
