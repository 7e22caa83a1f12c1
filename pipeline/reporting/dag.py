"""The stages of dvc.yaml as DVC expands them: defaults under `vars`, `foreach` groups, `${...}` in paths."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_TEMPLATE = re.compile(r"\$\{([^}]*)\}")
_STEP = re.compile(r"[^.\[\]]+")
_OUTPUTS = ("outs", "metrics", "plots")
UNKNOWN = "*"  # in place of a template without a value
Parts = tuple[str, ...]


@dataclass(frozen=True)
class StageGroup:
    """A stage of dvc.yaml, or all stages of a `foreach` group.

    Attributes:
        items: how many stages there are; 1 without `foreach`.
        deps, outs: paths of all of them, as parts.
    """

    name: str
    items: int
    deps: frozenset[Parts]
    outs: frozenset[Parts]


def expand(dvc: Mapping[str, Any], params: Mapping[str, Any]) -> list[StageGroup]:
    """The stages that DVC would run, in the order of dvc.yaml; a group over an empty section has none and is left out.

    Args:
        dvc, params: content of dvc.yaml and params.yaml.
    """
    values: dict[str, Any] = dict(params)
    for defaults in dvc.get("vars") or []:
        if isinstance(defaults, Mapping):
            values = _with_defaults(values, defaults)
    groups = [_group(str(name), stage or {}, values) for name, stage in (dvc.get("stages") or {}).items()]
    return [group for group in groups if group.items]


def _group(name: str, stage: Mapping[str, Any], values: Mapping[str, Any]) -> StageGroup:
    body, scopes = stage, [values]
    if "foreach" in stage:
        body = stage.get("do") or {}
        scopes = [{**values, "key": key, "item": item} for key, item in _items(stage["foreach"], values)]
    deps = {path for scope in scopes for path in _paths(body, ("deps",), scope)}
    outs = {path for scope in scopes for path in _paths(body, _OUTPUTS, scope)}
    return StageGroup(name, len(scopes), frozenset(deps), frozenset(outs))


def _items(foreach: Any, values: Mapping[str, Any]) -> list[tuple[Any, Any]]:
    """(key, item) of each stage of a group; of a list, the key is the position."""
    entries = foreach
    if isinstance(foreach, str):
        template = _TEMPLATE.fullmatch(foreach.strip())
        entries = _value(template[1], values) if template else None
    if isinstance(entries, Mapping):
        return list(entries.items())
    return list(enumerate(entries)) if isinstance(entries, list) else []


def _paths(body: Mapping[str, Any], kinds: Iterable[str], scope: Mapping[str, Any]) -> Iterable[Parts]:
    for kind in kinds:
        for entry in body.get(kind) or []:
            path = next(iter(entry)) if isinstance(entry, Mapping) else entry
            yield tuple(_TEMPLATE.sub(lambda template: _filled(template[1], scope), str(path)).split("/"))


def _filled(expression: str, scope: Mapping[str, Any]) -> str:
    value = _value(expression, scope)
    return UNKNOWN if value is None else str(value)


def _value(expression: str, scope: Mapping[str, Any]) -> Any:
    """What an expression such as `item.views[0]` stands for; None where there is no such entry."""
    value: Any = scope
    for step in _STEP.findall(expression.strip()):
        if isinstance(value, Mapping):
            value = value.get(step)
        elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value


def _with_defaults(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """`values`, completed with entries of `defaults` that are missing, section by section."""
    merged = dict(values)
    for key, default in defaults.items():
        value = merged.get(key)
        if isinstance(value, Mapping) and isinstance(default, Mapping):
            merged[key] = _with_defaults(value, default)
        elif value is None:
            merged[key] = default
    return merged
