"""A pair of axes, and lines with bands and points on them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from pipeline.reporting.svg import Scale, label, line, padded, polygon, polyline, tag, tick_text

_LEFT, _RIGHT, _TOP, _BOTTOM = 56.0, 12.0, 26.0, 40.0


@dataclass(frozen=True)
class Series:
    """A curve: x, y and optionally the lower and upper end of its band; `class_` gives the colour."""

    name: str
    class_: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


@dataclass(frozen=True)
class Axes:
    """The frame of one panel, `width` by `height` px."""

    title: str
    x_label: str
    y_label: str
    width: float = 340.0
    height: float = 240.0

    def scales(
        self, x: Sequence[float], y: Sequence[float], log: bool = False, zero: bool = True
    ) -> tuple[Scale, Scale]:
        """Scales that hold all of `x` and `y`."""
        x_low, x_high = (min(x), max(x)) if log else padded(x)
        y_low, y_high = padded(y, zero)
        across = Scale(x_low, x_high, _LEFT, self.width - _RIGHT, log)
        return across, Scale(y_low, y_high, self.height - _BOTTOM, _TOP)

    def frame(
        self, across: Scale, up: Scale, x_ticks: Sequence[float] = (), tick: Callable[[float], str] = tick_text
    ) -> list[Markup]:
        """Title, grid lines, ticks and the names of the axes."""
        parts = [label(_LEFT, 14, self.title, class_="title")]
        for value in up.ticks(4):
            parts += [
                line(_LEFT, up(value), self.width - _RIGHT, up(value), "grid"),
                label(_LEFT - 5, up(value) + 4, tick(value), "end", "tick"),
            ]
        for value in x_ticks or across.ticks(5):
            parts.append(label(across(value), self.height - _BOTTOM + 15, tick_text(value), "middle", "tick"))
        parts.append(line(_LEFT, self.height - _BOTTOM, self.width - _RIGHT, self.height - _BOTTOM, "axis"))
        parts.append(label((_LEFT + self.width - _RIGHT) / 2, self.height - 6, self.x_label, "middle", "tick"))
        middle = (_TOP + self.height - _BOTTOM) / 2
        name = tag("text", self.y_label, transform=f"translate(11 {middle:.1f}) rotate(-90)", text_anchor="middle")
        parts.append(tag("g", [name], class_="tick"))
        return parts


def curves(series: Sequence[Series], across: Scale, up: Scale, dots: bool = False) -> list[Markup]:
    """Every series: its band first, then the line, then the points where `dots`."""
    parts = []
    for one in series:
        if one.low and len(one.x) > 1:
            edge = [(across(x), up(low)) for x, low in zip(one.x, one.low, strict=True)]
            edge += [(across(x), up(high)) for x, high in reversed(list(zip(one.x, one.high, strict=True)))]
            parts.append(polygon(edge, f"band {one.class_}"))
    for one in series:
        points = [(across(x), up(y)) for x, y in zip(one.x, one.y, strict=True)]
        parts.append(polyline(points, f"curve {one.class_}"))
        if dots:
            parts += [tag("circle", cx=x, cy=y, r=3.0, class_=f"dot {one.class_}") for x, y in points]
    return parts
