"""Tars of a webdataset, as img2dataset and webdataset's own writers make them; read in place, never unpacked."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline.config import WebdatasetSource
from pipeline.datasets.clip_benchmark import Class, class_number, named_classes
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
    archives = matching(spec.path)
    names = [] if spec.classnames is None else read_text(located(spec.classnames)).splitlines()
    classes = named_classes([name.strip() for name in names if name.strip()])
    about = {"archives": len(archives), "classnames": [label.classname for label, _ in classes], "packages": {}}
    return Source(shown(spec.path), _samples(archives, spec, classes), about)


def _samples(archives: Sequence[Path], spec: WebdatasetSource, classes: Sequence[Class]) -> Iterator[Sample | Failure]:
    for archive in archives:
        try:
            for sample in tar_samples(archive):
                yield sample if isinstance(sample, Failure) else _sample(sample, archive, spec, classes)
        except SourceError as error:
            yield Failure(archive.name, str(error))


def _sample(sample: TarSample, archive: Path, spec: WebdatasetSource, classes: Sequence[Class]) -> Sample | Failure:
    place = f"{archive.name}: {sample.key}"
    try:
        picture = sample.picture()
        captions = [Caption(text, spec.language) for name in spec.captions for text in _texts(sample, name)]
        labels = []
        if classes and "cls" in sample.members:
            label, named = classes[class_number(sample, len(classes))]
            labels, captions = [label], captions or list(named)
    except DataError as error:
        return Failure(place, str(error))
    lacks = "" if captions or labels else _lacks(sample, spec)
    return Sample(f"{archive.stem}/{sample.key}", picture, captions, labels, spec.split, sample.problems, place, lacks)


def _lacks(sample: TarSample, spec: WebdatasetSource) -> str:
    """What was looked for in vain, and what is there."""
    fields = ""
    if "json" in sample.members and any(name.startswith(_JSON) for name in spec.captions):
        content = json.loads(sample.members["json"].text())
        fields = f"; fields of its .json: {', '.join(sorted(content)[:20])}" if isinstance(content, dict) else ""
    return f"looked for {', '.join(spec.captions)}; {sample.found()}{fields}"


def _texts(sample: TarSample, name: str) -> list[str]:
    """The captions under one name: a text member whole, or a string or list of strings in the JSON member."""
    if not name.startswith(_JSON):
        return [sample.members[name].text()] if name in sample.members else []
    if "json" not in sample.members:
        return []
    try:
        content = json.loads(sample.members["json"].text())
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"its .json is not valid JSON: {error}") from error
    value = content.get(name.removeprefix(_JSON)) if isinstance(content, dict) else None
    return texts_in(value)


def texts_in(value: Any) -> list[str]:
    """The captions in a field: a string, a list of strings, or nothing.

    Raises:
        DataError: it is something else.
    """
    values = value if isinstance(value, list | tuple) else [] if value is None else [value]
    if wrong := [entry for entry in values if not isinstance(entry, str)]:
        raise DataError(f"caption is a {type(wrong[0]).__name__}, not a text")
    return list(values)
