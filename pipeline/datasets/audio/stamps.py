"""The sounds of the Tux Paint stamps: what their pictures sound like, and their captions read out."""

import os
import re
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config import StampsSource
from pipeline.datasets.audio.decode import SoundInfo, check_sound
from pipeline.datasets.builder import IndexBuilder
from pipeline.datasets.packages import deb_members
from pipeline.datasets.tables import media_id
from pipeline.errors import ConfigError, DataError

ENDINGS = (".ogg", ".wav")
_SPOKEN = re.compile(r"(.*)_desc(?:_([A-Za-z_@]+))?")  # a name less its ending; English has no code


@dataclass(frozen=True)
class Stamp:
    """A stamp as it was indexed.

    Attributes:
        stem: its path in the package, without an ending.
        image: its id.
        captions: by language, those that are indexed.
    """

    stem: str
    image: str
    concept: str
    classname: str
    category: str
    captions: dict[str, str]


@dataclass(frozen=True)
class _Recording:
    name: str
    stamp: Stamp
    kind: str
    language: str | None


def index_sounds(
    spec: StampsSource, builder: IndexBuilder, package: Path, root: str, stamps: Sequence[Stamp], forms: dict[str, str]
) -> dict[str, Any]:
    """Feed the sounds of the stamps that `effects` and `speech` ask for; returns what about.json says of them.

    A recording that serves several stamps belongs to the pictures of all, and has the label of the first.

    Args:
        root: where the stamps are in the package.
        forms: what the package calls a language, in lower case -> the language as `speech` names it.

    Raises:
        ConfigError: a language of `speech` has no recordings.
        SourceError: the package is invalid, or soundfile is not installed.
    """
    files = {
        name.removeprefix(root): content
        for name, content in deb_members(package, lambda name: name.startswith(root) and name.endswith(ENDINGS))
    }
    by_stem = {stamp.stem: stamp for stamp in stamps}
    wanted, left_out = [], Counter[str]()
    for name in sorted(files):
        found = _recording(name, by_stem, forms)
        if found is None:
            left_out["of no stamp that is indexed"] += 1
        elif found.kind == "speech" and found.language not in spec.speech:
            left_out["speech in other languages"] += 1
        elif found.kind == "effect" and not spec.effects:
            left_out["effects, which are not asked for"] += 1
        else:
            wanted.append(found)
    there = {recording.language for recording in wanted}
    if silent := [language for language in spec.speech if language not in there]:
        raise ConfigError(f"`speech` of the stamps names {silent[0]!r}, in which no stamp that is indexed is read out.")
    counts: Counter[str] = Counter()
    labelled: set[str] = set()
    with ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="check") as pool:
        checked = pool.map(_checked, (files[recording.name] for recording in wanted))
        for recording, info in zip(wanted, checked, strict=True):
            if isinstance(info, str):
                builder.fail(recording.name, info)
                left_out["cannot be decoded"] += 1
                continue
            _add(recording, files[recording.name], info, builder, labelled)
            counts[f"speech {recording.language}" if recording.language else "effects"] += 1
    return {"files": len(files), "used": dict(sorted(counts.items())), "left_out": dict(left_out.most_common())}


def _recording(name: str, stamps: dict[str, Stamp], forms: dict[str, str]) -> _Recording | None:
    """Whose sound a file is, and of which kind; None if it belongs to no stamp."""
    stem = name.rpartition(".")[0]
    if stem in stamps:
        return _Recording(name, stamps[stem], "effect", None)
    spoken = _SPOKEN.fullmatch(stem)
    if spoken is None or spoken[1] not in stamps:
        return None
    code = (spoken[2] or "en").lower()
    return _Recording(name, stamps[spoken[1]], "speech", forms.get(code, code))


def _checked(content: bytes) -> SoundInfo | str:
    try:
        return check_sound(content)
    except DataError as error:
        return str(error)


def _add(recording: _Recording, content: bytes, info: SoundInfo, builder: IndexBuilder, labelled: set[str]) -> None:
    stamp, sound = recording.stamp, media_id(content)
    builder.sounds.store(sound, content, info, recording.name.rpartition(".")[0], recording.kind, recording.language)
    builder.sounds.belongs(sound, stamp.image)
    if sound not in labelled:
        builder.sounds.label(sound, stamp.concept, stamp.classname, stamp.category)
        labelled.add(sound)
    for language, caption in stamp.captions.items():
        builder.sounds.link(sound, builder.add_text(caption, language), language)
