"""XTD10 (Aggarwal and Kale 2020, arXiv 2012.05107): a thousand pictures of COCO, one caption in each of 11 languages.

Its repository has names of pictures and, line by line, their captions: seven languages in XTD10/, and in MIC/ and
STAIR/ those made by others. Newer copies have all of them in one folder.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pipeline.config import Xtd10Source
from pipeline.datasets.cells import lines_of
from pipeline.datasets.nearest import first_there
from pipeline.datasets.plain_files import Inside
from pipeline.datasets.raw_files import located, read_text
from pipeline.datasets.samples import Caption, Picture, Sample, Source
from pipeline.errors import ConfigError, SourceError
from pipeline.languages import among

_FOLDERS = ("", "XTD10", "MIC", "STAIR")
_NAMES = "test_image_names.txt"
_CAPTIONS = re.compile(r"test_1kcaptions_(\w+)\.txt")
_CODES = {"jp": "ja"}  # theirs -> ISO
_COCO_FOLDER = re.compile(r"(train|val)2014")


def xtd10(spec: Xtd10Source) -> Source:
    """The pictures in the order of their list, with captions in the requested languages (default: all); all in test.

    Raises:
        ConfigError: a language is not available.
        SourceError: a file is missing, or lists of names and captions differ in length.
    """
    root, images = located(spec.path), located(spec.images)
    inside = Inside(root, links=spec.links)
    folders = [root / name for name in _FOLDERS if (root / name).is_dir()]
    lists = [folder / _NAMES for folder in folders if (folder / _NAMES).is_file()]
    if not lists:
        raise SourceError(f"No {_NAMES} in {root}; expected a copy of the repository of XTD10, see `path`.")
    names = _lines(lists[0], inside)
    files: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.iterdir()):
            if match := _CAPTIONS.fullmatch(path.name):
                files.setdefault(_CODES.get(match[1], match[1]), path)
    meant = {code: among(code, files) for code in spec.languages}
    if unknown := [code for code, found in meant.items() if found is None]:
        raise ConfigError(f"`languages` names {unknown}, which {root} lacks; it has: {', '.join(sorted(files))}.")
    captions = {
        code: _lines(files[code], inside) for code in [code for code in meant.values() if code] or sorted(files)
    }
    for code, lines in captions.items():
        if len(lines) != len(names):
            raise SourceError(f"{files[code]} has {len(lines)} captions, but {lists[0]} names {len(names)} pictures.")
    about = {"path": str(root), "images": str(images), "languages": list(captions), "packages": {}}
    inside = Inside(images, links=spec.links)
    return Source(str(root), _samples(names, captions, images), about, inside=inside, unit=f"lines of {_NAMES}")


def _samples(names: Sequence[str], captions: Mapping[str, Sequence[str]], images: Path) -> Iterator[Sample]:
    for row, name in enumerate(names):
        inside = _COCO_FOLDER.search(name)
        path = first_there(images / name, *([images / inside[0] / name] if inside else []))
        translations = [Caption(lines[row], code) for code, lines in captions.items()]
        yield Sample(name, Picture(path), translations, (), "test", place=f"{_NAMES}, line {row + 1}: {name}")


def _lines(path: Path, inside: Inside) -> list[str]:
    return [line.strip() for line in lines_of(read_text(path, inside=inside).rstrip("\n"))]
