"""Tars of a webdataset, as img2dataset and webdataset's own writers make them; read in place, never unpacked."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from pipeline.config import WebdatasetSource
from pipeline.datasets.cells import captions_of
from pipeline.datasets.clip_benchmark import Class, class_of, named_classes, numbered_lines
from pipeline.datasets.json_names import distinct
from pipeline.datasets.raw_files import located, matching, read_text, shown
from pipeline.datasets.samples import Caption, Failure, Sample, Source
from pipeline.datasets.tar_samples import TarSample, tar_samples
from pipeline.errors import ConfigError, DataError, SourceError

_JSON = "json."


def webdataset(spec: WebdatasetSource) -> Source:
    """The samples of all tars that the patterns match; a tar that cannot be read is one failure.

    Raises:
        ConfigError: `captions` names neither a member nor a field of the JSON member.
        SourceError: no file matches.
    """
    for name in spec.captions:
        if not name or name == _JSON:
            raise ConfigError(f"`captions` of {shown(spec.path)} holds {name!r}; write a member (txt) or json.FIELD.")
    refused: list[Failure] = []
    archives = matching(spec.path, spec.links, refused)
    names = [] if spec.classnames is None else numbered_lines(read_text(located(spec.classnames)))
    classes = named_classes(names)
    about = {"archives": len(archives), "classnames": [label.classname for label, _ in classes], "packages": {}}
    left_out: Counter[str] = Counter()
    samples = chain(refused, _samples(archives, spec, classes, left_out))
    return Source(shown(spec.path), samples, about, left_out, unit="members of tars")


def _samples(
    archives: Sequence[Path], spec: WebdatasetSource, classes: Sequence[Class], left_out: Counter[str]
) -> Iterator[Sample | Failure]:
    for archive in archives:
        try:
            for sample in tar_samples(archive, left_out):
                yield sample if isinstance(sample, Failure) else _sample(sample, archive, spec, classes)
        except SourceError as error:
            yield Failure(archive.name, str(error))


def _sample(sample: TarSample, archive: Path, spec: WebdatasetSource, classes: Sequence[Class]) -> Sample | Failure:
    place = f"{archive.name}: {sample.key}"
    try:
        picture = sample.picture() if spec.media != "audio" else None
        sound = sample.sound() if spec.media != "image" else None
        labels, texts, problems = [], [], list(sample.problems)
        for name in spec.captions:
            good, wrong = _texts(sample, name)
            texts += good
            problems += wrong
        captions = [Caption(text, spec.language) for text in texts]
        if classes and "cls" in sample.members:
            label, named = class_of(sample, classes)
            labels, captions = [label], captions or list(named)
        elif not captions and len(problems) > len(sample.problems):
            raise DataError("; ".join(problems))
    except DataError as error:
        return Failure(place, str(error), sample.files)
    lacks = "" if captions or labels else _lacks(sample, spec)
    key = f"{archive.stem}/{sample.key}"
    return Sample(key, picture, captions, labels, spec.split, problems, place, lacks, sample.files, sound)


def _lacks(sample: TarSample, spec: WebdatasetSource) -> str:
    """What was looked for in vain, and what is there."""
    fields = ""
    if "json" in sample.members and any(name.startswith(_JSON) for name in spec.captions):
        content = _content(sample)
        fields = f"; fields of its .json: {', '.join(sorted(content)[:20])}" if isinstance(content, dict) else ""
    return f"looked for {', '.join(spec.captions)}; {sample.found()}{fields}"


def _texts(sample: TarSample, name: str) -> tuple[list[str], list[str]]:
    """The captions under one name, and problems: a text member whole, or what a field of the JSON member holds."""
    if not name.startswith(_JSON):
        return [sample.members[name].text()] if name in sample.members else [], []
    if "json" not in sample.members:
        return [], []
    content = _content(sample)
    value = content.get(name.removeprefix(_JSON)) if isinstance(content, dict) else None
    return captions_of(value)


def _content(sample: TarSample) -> Any:
    """What the JSON member of a sample holds.

    Raises:
        DataError: it is not valid JSON.
    """
    try:
        return distinct(sample.members["json"].text())
    except (ValueError, RecursionError) as error:  # also a number of more than 4300 digits
        raise DataError(f"its .json is not valid JSON: {error}") from error
