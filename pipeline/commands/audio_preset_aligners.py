"""The aligners, and what evaluates them, of `permafrost init --preset audio`."""

from typing import Any

_SOUNDS, _PICTURES = "sounds", "pictures-with-sounds"
_OF_TEXTS = {  # log-mel statistics and CLAP give one vector per sound, so no head here takes more
    "kind": "closed-form", "local_tokens": "none", "image_input": "cls",
    "forms": {"cca": {"shrink": [1.0, 3.0, 10.0]}, "kernel-ridge": {"ridge": [0.3, 1.0, 3.0]}},
}  # fmt: skip
_OF_PICTURES = _OF_TEXTS | {"local_tokens": "mean", "image_input": "concat"}
_ADDED = _OF_TEXTS | {"forms": {"kernel-ridge": {"ridge": [0.3, 1.0, 3.0]}}}
_EAR = "whisper"
_EARS = {"": _EAR, "control-": "control-whisper", "log-mel-": "log-mel"}  # how rows are called -> their view
_KINDS: dict[str, dict[str, Any]] = {"sounds": {}, "effects": {"kinds": ["effect"]}}  # all, or effects alone
_ROWS = tuple(row.format(kind) for row in ("{}", "pictures-{}", "{}-added") for kind in _KINDS)


def _rows(row: str, entry: dict[str, Any], head: dict[str, Any], sides: str) -> dict[str, dict[str, Any]]:
    """A row and its likes on random weights and on log-mel statistics, for each kind of sounds; all have its head."""
    return {
        f"{prefix}{row.format(kind)}": entry
        | {key: [view if one == _EAR else one for one in value] if isinstance(value, list) else
           view if value == _EAR else value for key, value in {sides: entry[sides]}.items()}
        | {"head": head if not prefix and kind == "sounds" else {"same_as": row.format("sounds")}}
        | only
        for kind, only in _KINDS.items()
        for prefix, view in _EARS.items()
    }  # fmt: skip


NEEDED_BY_ALIGNERS: dict[str, tuple[str, ...]] = {"aligners": ("default",)}
ALIGNED: dict[str, dict[str, Any]] = {
    "curations": {
        _SOUNDS: {"pool": ["sounds"], "view": "whisper"},
        _PICTURES: {"pool": ["sounds"], "view": "vit"},
    },
    "aligners": {
        **_rows("{}", {"views": [_EAR, "minilm"], "data": _SOUNDS}, _OF_TEXTS, "views"),
        **_rows("pictures-{}", {"views": ["vit", _EAR], "data": _PICTURES}, _OF_PICTURES, "views"),
    },
    "added": _rows("{}-added", {"to": "default", "view": _EAR, "by": "minilm", "data": _SOUNDS}, _ADDED, "view"),
    "prompts.sets": {"sound": ["the sound of a {}.", "{}"]},
    "evaluate.tasks": {
        "cross_retrieval": {
            "sets": [
                {"dataset": "sounds", "between": ["audio", "text"]},
                {"dataset": "sounds", "between": ["image", "audio"]},
            ],
            "recall_at": [1, 10],
        },
        "cross_classification": {
            "classes": [{"dataset": "sounds", "label": "category"}], "prompt_sets": ["sound"],
        },
    },
    "evaluate.control": {name: f"control-{name}" for name in _ROWS},
    "evaluate.versus": {name: f"log-mel-{name}" for name in _ROWS},
}  # by section, as `ENTRIES` of audio_preset  # fmt: skip
