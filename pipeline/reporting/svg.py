"""Small pieces of SVG. Colours come from the classes of the page's style sheet, so drawings follow light and dark."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape


def tag(name: str, children: Iterable[Markup] | str = (), **attributes: str | float | None) -> Markup:
    """An element; `class_` stands for class, other underscores for hyphens; None leaves an attribute out."""
    written = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _short(value))
        for key, value in attributes.items()
        if value is not None
    )
    inner = escape(children) if isinstance(children, str) else Markup("").join(children)
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), written, inner)


def label(x: float, y: float, words: str, anchor: str = "start", class_: str = "label") -> Markup:
    """A line of text; `anchor` is start, middle or end."""
    return tag("text", words, x=x, y=y, text_anchor=anchor, class_=class_)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """A straight line."""
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def polyline(points: Sequence[tuple[float, float]], class_: str) -> Markup:
    """A line through points."""
    return tag("path", d="M" + "L".join(f"{_short(x)},{_short(y)}" for x, y in points), class_=class_)


def polygon(points: Sequence[tuple[float, float]], class_: str) -> Markup:
    """A filled outline."""
    return tag("polygon", points=" ".join(f"{_short(x)},{_short(y)}" for x, y in points), class_=class_)


def drawing(width: float, height: float, alt: str, children: Iterable[Markup]) -> Markup:
    """A whole drawing with its alternative text."""
    return tag(
        "svg",
        [tag("title", alt), *children],
        viewBox=f"0 0 {_short(width)} {_short(height)}",
        width=width,
        height=height,
        style=f"--natural:{_short(width)}px",
        role="img",
        aria_label=alt,
    )


@dataclass(frozen=True)
class Scale:
    """From values (low to high) to pixels (start to end); `log` is to base 2."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, at = (
            (math.log2(self.low), math.log2(self.high), math.log2(value)) if self.log else (self.low, self.high, value)
        )
        share = 0.5 if high == low else (at - low) / (high - low)
        return self.start + share * (self.end - self.start)

    def ticks(self, number: int = 5) -> list[float]:
        """Round values inside the domain, about `number` of them."""
        span = self.high - self.low
        if span <= 0:
            return [self.low]
        rough = span / number
        power = 10 ** math.floor(math.log10(rough))
        step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        return [round(n * step, 12) for n in range(first, math.floor(self.high / step + 1e-9) + 1)]


def padded(values: Iterable[float], zero: bool = False, share: float = 0.05) -> tuple[float, float]:
    """Domain of an axis: from the least to the greatest value, with room; from 0 where `zero`."""
    listed = list(values)
    if not listed:
        return 0.0, 1.0
    low, high = min(listed), max(listed)
    room = (high - low or abs(high) or 1.0) * share
    return (min(0.0, low) if zero else low - room), high + room


def tick_text(value: float) -> str:
    """A tick in as few characters as it takes."""
    return f"{value:g}".replace("-", "−")


def _short(value: str | float | None) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
