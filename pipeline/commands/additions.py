"""Entries that a preset adds to the default params.yaml.

They go into the text of the file behind those that are there, so that comments and order stay.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from pipeline.commands.project import entry_lines
from pipeline.errors import ConfigError

OPTIONAL = ("added",)  # sections that the default params.yaml goes without


@dataclass(frozen=True)
class Additions:
    """What a preset adds.

    Attributes:
        name: of the preset.
        needed: what the entries build on, by section.
        entries: by section, a dotted key.
        packages: that its encoders need, as pip takes them, and `megabytes` of them.
        first: the command that makes the first of it.
        libraries: that its data need, with all that these need.
    """

    name: str
    needed: Mapping[str, tuple[str, ...]]
    entries: Mapping[str, Mapping[str, Any]]
    packages: tuple[str, ...]
    megabytes: int
    first: str
    libraries: tuple[str, ...] = ()


def with_additions(text: str, preset: Additions) -> str:
    """The text of params.yaml with the entries of a preset in it.

    Raises:
        ConfigError: the file lacks what the entries build on, or has some of them already.
    """
    raw = yaml.safe_load(text)
    for section, names in preset.needed.items():
        lacking = [name for name in names if name not in (_at(raw, section) or {})]
        if lacking:
            raise ConfigError(
                f"Preset {preset.name} adds encoders to the default params.yaml, and this one has no {lacking[0]!r} "
                f"under `{section}`. Run it where params.yaml is as it came: git checkout params.yaml"
            )
    for section, entries in preset.entries.items():
        there = _at(raw, section)
        if there is None and section in OPTIONAL:
            continue
        if not isinstance(there, Mapping) or not there:
            raise ConfigError(
                f"Preset {preset.name} adds to `{section}` of the default params.yaml, which this one lacks."
            )
        if known := [name for name in entries if name in there]:
            raise ConfigError(f"params.yaml has {known[0]!r} under `{section}` already; nothing was changed.")
    for section, entries in preset.entries.items():
        text = _added(text, section, entries) if _at(raw, section) is not None else _begun(text, section, entries)
    return text


def _at(raw: Any, section: str) -> Any:
    for part in section.split("."):
        raw = raw.get(part) if isinstance(raw, Mapping) else None
    return raw


def _begun(text: str, section: str, entries: Mapping[str, Any]) -> str:
    """The text with a section that it lacks, in front of the one that evaluates."""
    lines = [f"{section}:", *entry_lines(entries, "  "), ""]
    start = text.index("\nevaluate:") + 1
    return text[:start] + "".join(f"{line}\n" for line in lines) + text[start:]


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
