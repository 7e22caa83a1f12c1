"""The aligners, and what evaluates them, of `permafrost init --preset audio`."""

from typing import Any

_SOUNDS, _PICTURES = "sounds", "pictures-with-sounds"
_OF_TEXTS = {  # log-mel statistics and CLAP give one vector per sound, so no head here takes more
    "kind": "closed-form", "local_tokens": "none", "image_input": "cls",
    "forms": {"cca": {"shrink": [1.0, 3.0, 10.0]}, "kernel-ridge": {"ridge": [0.3, 1.0, 3.0]}},
}  # fmt: skip
_OF_PICTURES = _OF_TEXTS | {"local_tokens": "mean", "image_input": "concat"}
_ADDED = _OF_TEXTS | {"forms": {"kernel-ridge": {"ridge": [0.3, 1.0, 3.0]}}}
_EARS = {"": "whisper", "control-": "control-whisper", "log-mel-": "log-mel"}  # how rows are called -> their view
_ROWS = ("sounds", "pictures-sounds", "sounds-added")

NEEDED_BY_ALIGNERS: dict[str, tuple[str, ...]] = {"aligners": ("default",)}
ALIGNED: dict[str, dict[str, Any]] = {
    "curations": {
        _SOUNDS: {"pool": ["sounds"], "view": "whisper"},
        _PICTURES: {"pool": ["sounds"], "view": "vit"},
    },
    "aligners": {
        **{
            f"{prefix}sounds": {
                "views": [view, "minilm"], "data": _SOUNDS, "head": {"same_as": "sounds"} if prefix else _OF_TEXTS,
            }
            for prefix, view in _EARS.items()
        },
        **{
            f"{prefix}pictures-sounds": {
                "views": ["vit", view], "data": _PICTURES,
                "head": {"same_as": "pictures-sounds"} if prefix else _OF_PICTURES,
            }
            for prefix, view in _EARS.items()
        },
    },
    "added": {
        f"{prefix}sounds-added": {
            "to": "default", "view": view, "by": "minilm", "data": _SOUNDS,
            "head": {"same_as": "sounds-added"} if prefix else _ADDED,
        }
        for prefix, view in _EARS.items()
    },
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
