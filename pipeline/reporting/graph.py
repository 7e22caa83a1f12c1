"""The stages of dvc.yaml as a layered drawing (Sugiyama et al. 1981: layers by longest path, order by barycentre)."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from pipeline.reporting.dag import UNKNOWN, Parts, StageGroup
from pipeline.reporting.svg import drawing, label, tag

_SLOT, _BOX, _HEIGHT, _GAP = 178.0, 162.0, 50.0, 32.0


@dataclass(frozen=True)
class Box:
    """A stage or a foreach group in the drawing: its name, how many items it has, and the note below its name."""

    name: str
    items: int
    note: str
    share: float = 0.0  # of the longest stage's seconds


def edges(groups: Sequence[StageGroup]) -> set[tuple[str, str]]:
    """(producer, consumer) pairs, without those that follow from others."""
    links = {
        (producer.name, consumer.name)
        for consumer in groups
        for producer in groups
        if producer is not consumer and any(_meet(dep, out) for dep in consumer.deps for out in producer.outs)
    }
    reach = {group.name: _reachable(group.name, links) for group in groups}
    return {(a, b) for a, b in links if not any((a, c) in links and b in reach[c] for c in reach if c != b)}


def draw(boxes: Sequence[Box], links: set[tuple[str, str]]) -> Markup:
    """The graph from top to bottom; links that skip a layer run through empty places kept for them."""
    layers, through = _layers([box.name for box in boxes], links)
    by_name = {box.name: box for box in boxes}
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
    parts += [_drawn(by_name[name], *at[name]) for layer in layers for name in layer if name in by_name]
    words = "; ".join(f"{a} feeds {b}" for a, b in sorted(links))
    return drawing(widest * _SLOT, len(layers) * (_HEIGHT + _GAP) - _GAP + 8, f"Graph of the stages: {words}", parts)


def _meet(first: Parts, second: Parts) -> bool:
    """Whether one path lies at or below the other."""
    return all(a == b or UNKNOWN in a or UNKNOWN in b for a, b in zip(first, second, strict=False))


def _reachable(start: str, links: set[tuple[str, str]]) -> set[str]:
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        name = waiting.pop()
        new = {b for a, b in links if a == name} - seen
        seen |= new
        waiting += new
    return seen


def _layers(names: list[str], links: set[tuple[str, str]]) -> tuple[list[list[str]], dict[tuple[str, str], list[str]]]:
    """Names by layer, with a placeholder wherever a link passes through a layer; and the placeholders of each link."""
    depth = dict.fromkeys(names, 0)
    for _ in names:
        for a, b in links:
            depth[b] = max(depth[b], depth[a] + 1)
    for name in names:  # a stage without inputs stands just above its first consumer
        consumers = [depth[b] for a, b in links if a == name]
        if consumers and not any(b == name for _, b in links):
            depth[name] = min(consumers) - 1
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
        above = {n: [centre[u] for u in before[n] if u in centre] for n in layer}
        layer.sort(key=lambda n: sum(above[n]) / len(above[n]) if above[n] else 0.0)
        centre |= {name: place - (len(layer) - 1) / 2 for place, name in enumerate(layer)}
    return layers, through


def _arrow(start: tuple[float, float], end: tuple[float, float], from_box: bool) -> Markup:
    (x1, y1), (x2, y2) = start, end
    bottom = y1 + _HEIGHT  # below a box, or below the empty place that the link runs straight through
    middle = (bottom + y2) / 2
    return tag(
        "path",
        d=f"M{x1:g},{bottom if from_box else y1:g}V{bottom:g}C{x1:g},{middle:g} {x2:g},{middle:g} {x2:g},{y2:g}",
        class_="edge",
    )


def _drawn(box: Box, x: float, y: float) -> Markup:
    left = x - _BOX / 2
    times = f" × {box.items}" if box.items > 1 else ""
    parts = [
        tag("rect", x=left, y=y, width=_BOX, height=_HEIGHT, rx=7, class_="stage"),
        tag(
            "rect",
            x=left + 10,
            y=y + _HEIGHT - 8,
            width=(_BOX - 20) * box.share,
            height=3.0,
            rx=1.5,
            class_="bar s0",
        ),
        label(x, y + 19, box.name + times, "middle", "title"),
        label(x, y + 35, box.note, "middle", "tick"),
    ]
    return tag("g", parts)
