"""Charts with a row per item: dots with intervals, bars, heat maps."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from pipeline.reporting.svg import Scale, drawing, label, line, padded, tag, tick_text

_ROW = 19.0


@dataclass(frozen=True)
class Estimate:
    """A value with its interval; hollow where `faint`."""

    class_: str
    value: float
    low: float | None = None
    high: float | None = None
    faint: bool = False


@dataclass(frozen=True)
class Group:
    """A row of a dot chart: its name, one estimate per series, and the chance level."""

    name: str
    estimates: Sequence[Estimate]
    chance: float | None = None


def dots(
    groups: Sequence[Group], alt: str, title: str, axis: str, reference: float | None = None, width: float = 340.0
) -> Markup:
    """Values with whiskers, row by row; a dash marks chance, a line the `reference`."""
    left = 16 + 6.7 * max((len(group.name) for group in groups), default=0)
    width = max(width, left + 260)
    values = [edge for g in groups for e in g.estimates for edge in (e.value, e.low, e.high) if edge is not None]
    values += [group.chance for group in groups if group.chance is not None]
    low, high = padded([*values, *([reference] if reference is not None else [])], zero=True)
    heights = [max(_ROW, 7.0 * len(group.estimates) + 7) for group in groups]
    bottom = 26 + sum(heights)
    across = Scale(low, high, left, width - 14)
    parts = [label(0, 14, title, class_="title")]
    for value in across.ticks(4):
        parts.append(line(across(value), 24, across(value), bottom, "grid"))
        parts.append(label(across(value), bottom + 14, tick_text(value), "middle", "tick"))
    top = 26.0
    for row, (group, height) in enumerate(zip(groups, heights, strict=True)):
        if row % 2:
            parts.append(tag("rect", x=0, y=top, width=width, height=height, class_="stripe"))
        parts.append(label(left - 8, top + height / 2 + 4, group.name, "end", "label"))
        if group.chance is not None:
            parts.append(line(across(group.chance), top + 2, across(group.chance), top + height - 2, "chance"))
        step = height / (len(group.estimates) + 1)
        for place, estimate in enumerate(group.estimates, start=1):
            parts += _whisker(estimate, across, top + place * step)
        top += height
    if reference is not None:
        parts.append(line(across(reference), 22, across(reference), bottom, "reference"))
    parts.append(label((left + width - 14) / 2, bottom + 30, axis, "middle", "tick"))
    return drawing(width, bottom + 38, alt, parts)


def bars(
    rows: Sequence[tuple[str, Sequence[tuple[str, float]]]], alt: str, title: str, axis: str, width: float = 340.0
) -> Markup:
    """Horizontal bars: per row a name and (class, value) of each bar; the value is written at its end."""
    left = min(width * 0.45, 16 + 6.1 * max((len(name) for name, _ in rows), default=0))
    high = max((value for _, values in rows for _, value in values), default=0.0)
    across = Scale(0.0, high or 1.0, left, width - 40)
    parts = [label(0, 14, title, class_="title")]
    top = 24.0
    for name, values in rows:
        height = 9.0 * len(values) + 8
        parts.append(label(left - 8, top + height / 2 + 4, name, "end", "label"))
        for place, (class_, value) in enumerate(values):
            y = top + 4 + 9.0 * place
            parts.append(
                tag("rect", x=left, y=y, width=max(across(value) - left, 0.5), height=8.0, class_=f"bar {class_}")
            )
            parts.append(label(across(value) + 4, y + 8, tick_text(round(value, 3)), class_="small"))
        top += height
    parts.append(label((left + width - 40) / 2, top + 14, axis, "middle", "tick"))
    return drawing(width, top + 22, alt, parts)


def heat_map(
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[float | None]],
    alt: str,
    title: str,
    marked: Sequence[bool],
) -> Markup:
    """Values as shades, written in their cells; the names of `marked` rows are in italics."""
    left, cell, height = 14 + 6.3 * max((len(row) for row in rows), default=0), 84.0, 20.0
    known = [value for row in values for value in row if value is not None]
    low, high = min(known, default=0.0), max(known, default=1.0)
    shade = Scale(min(low, 0.0), high if high > 0 else 1.0, 0.0, 0.85)
    parts = [label(0, 14, title, class_="title")]
    parts += [label(left + (c + 0.5) * cell, 34, name, "middle", "tick") for c, name in enumerate(columns)]
    for r, (name, row) in enumerate(zip(rows, values, strict=True)):
        y = 40 + r * height
        parts.append(label(left - 8, y + 14, name, "end", "label control" if marked[r] else "label"))
        for c, value in enumerate(row):
            x = left + c * cell
            if value is None:
                parts.append(label(x + cell / 2, y + 14, "–", "middle", "tick"))
                continue
            at = shade(value)
            parts.append(
                tag(
                    "rect",
                    x=x + 1,
                    y=y + 1,
                    width=cell - 2,
                    height=height - 2,
                    class_="shade",
                    fill_opacity=round(at, 3),
                )
            )
            parts.append(label(x + cell / 2, y + 14, f"{value:.3f}", "middle", "deep" if at > 0.62 else "label"))
    return drawing(left + cell * len(columns) + 4, 46 + height * len(rows), alt, parts)


def _whisker(estimate: Estimate, across: Scale, y: float) -> list[Markup]:
    parts = []
    if estimate.low is not None and estimate.high is not None:
        parts.append(line(across(estimate.low), y, across(estimate.high), y, f"whisker {estimate.class_}"))
    state = " hollow" if estimate.faint else ""
    parts.append(tag("circle", cx=across(estimate.value), cy=y, r=3.5, class_=f"dot {estimate.class_}{state}"))
    return parts
