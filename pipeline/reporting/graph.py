"""The stages of dvc.yaml as a layered drawing (Sugiyama et al. 1981: layers by longest path, order by barycentre)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from pipeline.reporting.svg import drawing, label, tag

_SLOT, _NODE, _HEIGHT, _GAP = 178.0, 162.0, 50.0, 32.0
_HOLE = re.compile(r"\$\{[^}]*\}")


@dataclass(frozen=True)
class Stage:
    """A stage of dvc.yaml, or a foreach group: its name, how many items it has, and what stands below its name."""

    name: str
    items: int
    note: str
    share: float = 0.0  # of the longest stage's seconds


def edges(stages: Mapping[str, Mapping[str, Any]]) -> set[tuple[str, str]]:
    """(producer, consumer) pairs, less those that follow from others; `${...}` in a path stands for any name."""
    bodies = {name: stage.get("do", stage) for name, stage in stages.items()}
    outs = {
        name: [p for kind in ("outs", "metrics", "plots") for p in _paths(body, kind)] for name, body in bodies.items()
    }
    found = {
        (maker, user)
        for user, body in bodies.items()
        for maker in bodies
        if maker != user and any(_meet(dep, out) for dep in _paths(body, "deps") for out in outs[maker])
    }
    reach = {name: _reachable(name, found) for name in bodies}
    return {(a, b) for a, b in found if not any((a, c) in found and b in reach[c] for c in bodies if c != b)}


def draw(stages: Sequence[Stage], links: set[tuple[str, str]]) -> Markup:
    """The graph from top to bottom; links that skip a layer run through empty places kept for them."""
    layers, through = _layers([stage.name for stage in stages], links)
    by_name = {stage.name: stage for stage in stages}
    widest = max((len(layer) for layer in layers), default=1)
    at = {
        name: ((widest - len(layer)) / 2 * _SLOT + (place + 0.5) * _SLOT, row * (_HEIGHT + _GAP) + 4)
        for row, layer in enumerate(layers)
        for place, name in enumerate(layer)
    }
    parts = []
    for link in sorted(links):
        stops = [link[0], *through[link], link[1]]
        parts += [_arrow(at[a], at[b], a in by_name) for a, b in pairwise(stops)]
    parts += [_node(by_name[name], *at[name]) for layer in layers for name in layer if name in by_name]
    words = "; ".join(f"{a} feeds {b}" for a, b in sorted(links))
    return drawing(widest * _SLOT, len(layers) * (_HEIGHT + _GAP) - _GAP + 8, f"Graph of the stages: {words}", parts)


def _paths(body: Mapping[str, Any], kind: str) -> list[list[str]]:
    entries = [next(iter(entry)) if isinstance(entry, dict) else entry for entry in body.get(kind, [])]
    return [_HOLE.sub("*", str(entry)).split("/") for entry in entries]


def _meet(first: list[str], second: list[str]) -> bool:
    """Whether one path lies at or below the other."""
    return all(a == b or "*" in (a, b) for a, b in zip(first, second, strict=False))


def _reachable(start: str, links: set[tuple[str, str]]) -> set[str]:
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        here = waiting.pop()
        new = {b for a, b in links if a == here} - seen
        seen |= new
        waiting += new
    return seen


def _layers(names: list[str], links: set[tuple[str, str]]) -> tuple[list[list[str]], dict[tuple[str, str], list[str]]]:
    """Names by layer, with a placeholder in each layer that a link only passes; the placeholders of each link."""
    depth = dict.fromkeys(names, 0)
    for _ in names:
        for a, b in links:
            depth[b] = max(depth[b], depth[a] + 1)
    for name in names:  # what needs nothing stands just above what needs it
        users = [depth[b] for a, b in links if a == name]
        if users and not any(b == name for _, b in links):
            depth[name] = min(users) - 1
    layers: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for name in names:
        layers[depth[name]].append(name)
    through: dict[tuple[str, str], list[str]] = {}
    before: dict[str, list[str]] = {name: [] for name in names}
    for a, b in sorted(links):
        stops = [f"{a}|{b}|{row}" for row in range(depth[a] + 1, depth[b])]
        through[a, b] = stops
        for stop, row in zip(stops, range(depth[a] + 1, depth[b]), strict=True):
            layers[row].append(stop)
        for upper, lower in zip([a, *stops], [*stops, b], strict=True):
            before.setdefault(lower, []).append(upper)
    centre: dict[str, float] = {}
    for layer in layers:
        found = {n: [centre[u] for u in before[n] if u in centre] for n in layer}
        layer.sort(key=lambda n: sum(found[n]) / len(found[n]) if found[n] else 0.0)
        centre |= {name: place - (len(layer) - 1) / 2 for place, name in enumerate(layer)}
    return layers, through


def _arrow(start: tuple[float, float], end: tuple[float, float], from_node: bool) -> Markup:
    (x1, y1), (x2, y2) = start, end
    bottom = y1 + _HEIGHT  # below a node, or below the empty place that the link runs straight through
    middle = (bottom + y2) / 2
    return tag(
        "path",
        d=f"M{x1:g},{bottom if from_node else y1:g}V{bottom:g}C{x1:g},{middle:g} {x2:g},{middle:g} {x2:g},{y2:g}",
        class_="edge",
    )


def _node(stage: Stage, x: float, y: float) -> Markup:
    left = x - _NODE / 2
    times = f" × {stage.items}" if stage.items > 1 else ""
    parts = [
        tag("rect", x=left, y=y, width=_NODE, height=_HEIGHT, rx=7, class_="stage"),
        tag(
            "rect",
            x=left + 10,
            y=y + _HEIGHT - 8,
            width=(_NODE - 20) * stage.share,
            height=3.0,
            rx=1.5,
            class_="bar s0",
        ),
        label(x, y + 19, stage.name + times, "middle", "title"),
        label(x, y + 35, stage.note, "middle", "tick"),
    ]
    return tag("g", parts)
