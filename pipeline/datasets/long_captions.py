"""Pictures with captions of a hundred words and more: DCI, DOCCI and Urban1k, each as its authors distribute it.

DCI (Urbanek et al. 2024): annotations/*.json with a short and a long caption, photos/, splits.json. DOCCI (Onoe et al.
2024): docci_descriptions.jsonlines and images/. Urban1k (Zhang et al. 2024, Long-CLIP): caption/N.txt and image/N.jpg.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline.config import LongCaptionSource
from pipeline.datasets.cells import is_null, text_of
from pipeline.datasets.plain_files import MAX_LIST, MAX_TEXT, Inside
from pipeline.datasets.raw_files import listed, located, pictures_in, read_json, read_text
from pipeline.datasets.samples import Caption, Failure, Picture, Sample, Source, fields_in, split_named
from pipeline.datasets.table_rows import rows_of
from pipeline.datasets.walk import hidden
from pipeline.errors import DataError, SourceError

_DESCRIPTIONS = "docci_descriptions.jsonlines"
_UNITS = {"dci": "files of annotations", "docci": "rows", "urban1k": "files"}


def long_captions(spec: LongCaptionSource) -> Source:
    """The pictures of one of the three, each with its whole caption, in the roles that params.yaml names.

    For DCI the short caption is added; the long one begins with it, as in the authors' evaluation.

    Raises:
        SourceError: the folder does not have their layout.
    """
    root = located(spec.path)
    left_out: Counter[str] = Counter()
    inside = Inside(root, links=spec.links)
    samples = {"dci": _dci, "docci": _docci, "urban1k": _urban1k}[spec.source](inside, root, spec.roles, left_out)
    about = {"path": str(root), "roles": list(spec.roles), "packages": {}}
    return Source(str(root), samples, about, left_out, inside, _UNITS[spec.source])


def _dci(inside: Inside, root: Path, roles: Sequence[str], left_out: Counter[str]) -> Iterator[Sample | Failure]:
    inner = root / "densely_captioned_images"
    folder = inner if inner.is_dir() else root
    annotations = folder / "annotations"
    _require(annotations, folder / "photos")
    split_of = {}
    if (folder / "splits.json").is_file():
        splits = read_json(folder / "splits.json", inside, MAX_LIST)
        if not isinstance(splits, dict) or not all(isinstance(files, list) for files in splits.values()):
            raise SourceError(f"{folder / 'splits.json'}: expected a mapping of splits to lists of files.")
        split_of = {Path(str(file)).stem: split_named(name) for name, files in splits.items() for file in files}
    for path in _ending(annotations, ".json", left_out):
        entry: Any = {}
        try:
            entry = read_json(path, inside, MAX_LIST)
            written = [entry[name] for name in ("short_caption", "extra_caption")]
            short, extra = ("" if is_null(value) else text_of(value, "caption").strip() for value in written)
            picture = Picture(folder / "photos" / text_of(entry["image"], "image"))
        except (SourceError, DataError, KeyError, TypeError) as error:
            reason = f"expected image, short_caption and extra_caption: {error}"
            yield Failure(
                path.name, reason if isinstance(error, SourceError | DataError) else reason + fields_in(entry)
            )
            continue
        captions = _in_roles(f"{short}\n{extra}".strip(), roles) + ([Caption(short)] if short and extra else [])
        yield Sample(path.stem, picture, captions, (), split_of.get(path.stem), place=path.name)


def _docci(inside: Inside, root: Path, roles: Sequence[str], _left_out: Counter[str]) -> Iterator[Sample | Failure]:
    _require(root / _DESCRIPTIONS, root / "images")
    if reason := inside.wrong_with(root / _DESCRIPTIONS):
        raise SourceError(f"{root / _DESCRIPTIONS} is not read: {reason}.")
    for row in rows_of(root / _DESCRIPTIONS, ()):
        missing = [name for name in ("image_file", "description") if not isinstance(row.values.get(name), str)]
        if row.reason is not None or missing:
            yield Failure(
                f"{_DESCRIPTIONS}, {row.place}", row.reason or f"without {' and '.join(missing)}{fields_in(row.values)}"
            )
            continue
        name: Any = row.values["image_file"]
        split = split_named(str(row.values.get("split") or "").removeprefix("qual_"))
        captions = _in_roles(row.values["description"], roles)
        yield Sample(name, Picture(root / "images" / name), captions, (), split, place=f"{row.place}: {name}")


def _urban1k(inside: Inside, root: Path, roles: Sequence[str], left_out: Counter[str]) -> Iterator[Sample | Failure]:
    inner = root / "Urban1k"
    folder = inner if inner.is_dir() else root
    _require(folder / "caption", folder / "image")
    found = pictures_in(folder / "image", left_out)
    written = _ending(folder / "caption", ".txt", left_out)
    pictures, texts = ({path.stem: path for path in reversed(paths)} for paths in (found, written))
    if again := len(found) + len(written) - len(pictures) - len(texts):
        left_out["another file of the same name and another ending"] += again
    for stem in sorted(pictures.keys() | texts.keys(), key=_natural):
        if stem not in pictures or stem not in texts:
            yield Failure(stem, "a caption without a picture" if stem in texts else "a picture without a caption")
            continue
        try:
            captions = _in_roles(read_text(texts[stem], inside=inside, limit=MAX_TEXT), roles)
        except SourceError as error:
            yield Failure(stem, str(error), 2)
            continue
        yield Sample(stem, Picture(pictures[stem]), captions, (), "test", units=2)


def _ending(folder: Path, ending: str, left_out: Counter[str]) -> list[Path]:
    """The files of a folder with that ending in either case, in natural order; others are counted."""
    found = []
    for path in listed(folder):
        if hidden(path.name):
            left_out["hidden"] += 1
        elif path.suffix.lower() == ending:
            found.append(path)
        else:
            left_out[f"no {ending} in {folder.name}"] += 1
    return sorted(found, key=_natural)


def _in_roles(text: str, roles: Sequence[str]) -> list[Caption]:
    return [Caption(text, role=role) for role in roles]


def _require(*paths: Path) -> None:
    for path in paths:
        if not path.exists():
            raise SourceError(f"Expected {path}; see `path` of this data set in params.yaml.")


def _natural(name: str | Path) -> tuple[tuple[int, str], ...]:
    """Numbers inside names count as numbers: 2 comes before 10."""
    parts = re.findall(r"\d+|\D+", name.name if isinstance(name, Path) else name)
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in parts)
