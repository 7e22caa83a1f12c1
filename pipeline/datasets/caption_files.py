"""COCO captions and Flickr30k: pictures in a folder, several captions each, in the standard annotation files.

Karpathy's dataset_coco.json and dataset_flickr30k.json (with his splits), COCO's captions_*.json, and Flickr30k's
results_20130124.token and results.csv.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import chain, groupby
from pathlib import Path
from typing import Any

from pipeline.config import CaptionFileSource
from pipeline.datasets.cells import captions_of, text_of
from pipeline.datasets.json_names import Repeated, repeated_in
from pipeline.datasets.lines import EndlessLine, LongLine, PlainLines
from pipeline.datasets.nearest import first_there
from pipeline.datasets.plain_files import Inside
from pipeline.datasets.raw_files import located, matching, read_json, shown
from pipeline.datasets.samples import Caption, Failure, Picture, Sample, Source, fields_in, split_named
from pipeline.datasets.table_rows import TRUNCATED, open_text
from pipeline.errors import DataError, SourceError

_COCO_NAME = re.compile(r"(train|val|test)\d{4}")
_TOKEN = re.compile(r"(?P<file>.+)#\d+\t(?P<caption>.*)")
_RESULTS = re.compile(r"(?P<file>[^|]+)\|\s*\d+\s*\|(?P<caption>.*)")


def caption_files(spec: CaptionFileSource) -> Source:
    """The pictures of all annotation files, in their order, each with all its captions.

    Raises:
        SourceError: a file or the folder of pictures is missing, or a file has none of these formats.
    """
    folder = located(spec.images)
    if not folder.is_dir():
        raise SourceError(f"No folder of pictures at {folder}. See `images` of this data set in params.yaml.")
    refused: list[Failure] = []
    files = matching(spec.annotations, spec.links, refused)
    about = {"annotations": [str(file) for file in files], "images": str(folder), "packages": {}}
    samples = chain(refused, _samples(files, folder, spec.split))
    inside = Inside(folder, links=spec.links)
    return Source(
        shown(spec.annotations), samples, about, inside=inside, unit="lines, or images and annotations of JSON,"
    )


def _samples(files: list[Path], folder: Path, split: str | None) -> Iterator[Sample | Failure]:
    for file in files:
        if file.suffix.lower() != ".json":
            yield from _lines(file, folder, split)
            continue
        content = read_json(file, entries=True)
        if isinstance(content, Repeated):
            raise SourceError(f"{file}: {repeated_in(content)}; keep one each.")
        if not isinstance(content, dict) or not isinstance(content.get("images"), list):
            raise SourceError(
                f"{file}: expected Karpathy's or COCO's JSON, with a list of `images`{fields_in(content)}."
            )
        if isinstance(content.get("annotations"), list):
            yield from _official(content, file, folder, split)
        else:
            yield from _karpathy(content, file, folder, split)


def _karpathy(content: Mapping[str, Any], file: Path, folder: Path, split: str | None) -> Iterator[Sample | Failure]:
    for number, image in enumerate(content["images"]):
        place = f"{file.name}, image {number}"
        if reason := repeated_in(image):
            yield Failure(place, reason)
            continue
        try:
            name = text_of(image["filename"], "filename")
            inside, written = (text_of(image.get(field) or "", field) for field in ("filepath", "split"))
            texts, problems = captions_of([sentence["raw"] for sentence in image["sentences"]])
        except (KeyError, TypeError, AttributeError) as error:
            expected = f"expected filename, split and sentences with raw: {type(error).__name__} {error}"
            yield Failure(place, expected + fields_in(image))
            continue
        except DataError as error:
            yield Failure(place, str(error))
            continue
        if problems and not texts:
            yield Failure(f"{place}: {name}", "; ".join(problems))
            continue
        captions = [Caption(text) for text in texts]
        image_split = split or split_named(written)
        picture = Picture(first_there(folder / inside / name, folder / name))
        yield Sample(name, picture, captions, (), image_split, problems, place=f"{place}: {name}")


def _official(content: Mapping[str, Any], file: Path, folder: Path, split: str | None) -> Iterator[Sample | Failure]:
    captions: dict[Any, list[Caption]] = defaultdict(list)
    for number, entry in enumerate(content["annotations"]):
        if reason := repeated_in(entry):
            yield Failure(f"{file.name}, annotation {number}", reason)
            continue
        try:
            captions[entry["image_id"]].append(Caption(text_of(entry["caption"], "caption")))
        except (KeyError, TypeError) as error:
            yield Failure(
                f"{file.name}, annotation {number}", f"expected image_id and caption: {error}{fields_in(entry)}"
            )
        except DataError as error:
            yield Failure(f"{file.name}, annotation {number} of image {entry['image_id']}", str(error))
    named = _COCO_NAME.search(file.name)
    file_split = split or (split_named(named[1]) if named else None)
    seen = set()
    for number, image in enumerate(content["images"]):
        place = f"{file.name}, image {number}"
        if reason := repeated_in(image):
            yield Failure(place, reason)
            continue
        try:
            identity, name = image["id"], text_of(image["file_name"], "file_name")
            again = identity in seen
        except (KeyError, TypeError, DataError) as error:
            yield Failure(
                place, f"expected id and file_name: {error}{'' if isinstance(error, DataError) else fields_in(image)}"
            )
            continue
        if again:
            yield Failure(f"{place}: {name}", f"a second image of id {identity}; the first is taken")
            continue
        seen.add(identity)
        inside = _COCO_NAME.search(name) or named
        path = first_there(folder / name, *([folder / inside[0] / name] if inside else []))
        texts = captions.pop(identity, [])
        units = 1 + len(texts)
        yield Sample(name, Picture(path), texts, (), file_split, place=f"{place}: {name}", units=units)
    for identity, texts in captions.items():
        yield Failure(f"{file.name}, image id {identity}", "captions of an image that is not listed", len(texts))


def _lines(file: Path, folder: Path, split: str | None) -> Iterator[Sample | Failure]:
    """Flickr30k's own: `name.jpg#0<tab>caption` or `name.jpg| 0| caption`, an image's lines one after another."""
    form = _RESULTS if file.suffix.lower() == ".csv" else _TOKEN
    with open_text(file) as opened:
        for name, group in groupby(_parsed(PlainLines(opened), form, file.name), key=lambda entry: entry[0]):
            if name is None:
                yield from (Failure(place, reason) for _, reason, place in group)
                continue
            entries = list(group)
            captions = [Caption(caption) for _, caption, _ in entries]
            place, units = f"{entries[0][2]}: {name}", len(entries)
            yield Sample(name, Picture(folder / name), captions, (), split, place=place, units=units)


def _parsed(lines: PlainLines, form: re.Pattern[str], where: str) -> Iterator[tuple[str | None, str, str]]:
    """(file or None, caption or reason, place) of each line."""
    while True:
        lines.begin_row()
        try:
            line = next(lines)
        except StopIteration:
            return
        except LongLine as error:
            yield None, f"the line is {error}", f"{where}, line {lines.number}"
            if isinstance(error, EndlessLine):
                return
            continue
        except TRUNCATED as error:
            yield None, f"the file is cut short: {error}", f"{where}, line {lines.number + 1}"
            return
        place = f"{where}, line {lines.number}"
        if not line.strip() or (lines.number == 1 and line.lower().startswith("image_name")):
            continue
        match = form.fullmatch(line.rstrip("\r\n"))
        if match is None:
            yield None, f"expected a file, its number and a caption, found {line.strip()[:60]!a}", place
        else:
            yield match["file"].strip(), match["caption"], place
