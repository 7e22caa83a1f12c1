"""The sounds of the Tux Paint stamps: what their pictures sound like, and their captions read out."""

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from pipeline.datasets.audio.decode import SoundInfo, check_sound
from pipeline.datasets.builder import IndexBuilder
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


class StampSounds:
    """The sounds that a data set of stamps asks for.

    Args:
        effects: whether it asks for those of what pictures show.
        languages: what the package calls a language, in lower case -> the language of `speech`.
    """

    def __init__(self, effects: bool, languages: dict[str, str]) -> None:
        self._effects, self._languages = effects, languages
        self._left_out: Counter[str] = Counter()

    def may_need(self, name: str) -> bool:
        """Whether a file of the package is needed, as far as its name tells; others that are sounds are counted."""
        if not name.endswith(ENDINGS):
            return True
        spoken = _SPOKEN.fullmatch(name.rpartition(".")[0])
        needed = self._effects if spoken is None else _code(spoken) in self._languages
        if not needed and (self._effects or self._languages):
            self._left_out["effects" if spoken is None else "speech in other languages"] += 1
        return needed

    def index(self, files: Mapping[str, bytes], stamps: Sequence[Stamp], builder: IndexBuilder) -> dict[str, Any]:
        """Feed the sounds of some stamps; returns what about.json says of them.

        A recording that serves several stamps belongs to the pictures of all, and has the label of the first.

        Args:
            files: of the package, with those that `may_need` took.

        Raises:
            ConfigError: no stamp is read out in a language that is asked for.
            SourceError: soundfile is not installed.
        """
        by_stem = {stamp.stem: stamp for stamp in stamps}
        names = sorted(name for name in files if name.endswith(ENDINGS))
        found = [recording for name in names if (recording := self._recording(name, by_stem)) is not None]
        if strangers := len(names) - len(found):
            self._left_out["of no stamp that is indexed"] += strangers
        there = {recording.language for recording in found}
        if silent := [language for language in self._languages.values() if language not in there]:
            raise ConfigError(
                f"`speech` of the stamps names {silent[0]!r}, in which no stamp that is indexed is read out."
            )
        used: Counter[str] = Counter()
        labelled: set[str] = set()
        with ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="check") as pool:
            checked = pool.map(_checked, (files[recording.name] for recording in found))
            for recording, info in zip(found, checked, strict=True):
                if isinstance(info, str):
                    builder.fail(recording.name, info)
                    self._left_out["cannot be decoded"] += 1
                    continue
                _add(recording, files[recording.name], info, builder, labelled)
                used[f"speech {recording.language}" if recording.language else "effects"] += 1
        return {"used": dict(sorted(used.items())), "left_out": dict(self._left_out.most_common())}

    def _recording(self, name: str, stamps: Mapping[str, Stamp]) -> "_Recording | None":
        """Whose sound a file is, and of which kind; None if it belongs to no stamp."""
        stem = name.rpartition(".")[0]
        if stem in stamps:
            return _Recording(name, stamps[stem], "effect", None)
        spoken = _SPOKEN.fullmatch(stem)
        if spoken is None or spoken[1] not in stamps:
            return None
        return _Recording(name, stamps[spoken[1]], "speech", self._languages[_code(spoken)])


def _code(spoken: re.Match[str]) -> str:
    return (spoken[2] or "en").lower()


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
