"""Numbers on the page, each with its source and the name of its format, so that tests can compare it with its file."""

from collections.abc import Callable

from markupsafe import Markup

from pipeline.reporting.inputs import Node

MINUS = "−"


def _fixed(digits: int, factor: float = 1.0, sign: bool = False) -> Callable[[float], str]:
    form = f"{'+' if sign else ''},.{digits}f"

    def written(value: float) -> str:
        text = format(value * factor, form)
        if float(text.replace(",", "")) == 0:  # no minus zero
            text = text.lstrip("-+")
        return text.replace("-", MINUS)

    return written


def _seconds(value: float) -> str:
    if value < 10:
        return f"{value:.2f} s"
    if value < 120:
        return f"{value:.0f} s"
    minutes, seconds = divmod(round(value), 60)
    return f"{minutes} min {seconds:02d} s"


def _bytes(value: float) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return f"{value:.0f} B"


def _compact(value: float) -> str:
    return (f"{value:,.0f}" if float(value).is_integer() and abs(value) < 1e15 else f"{value:.4g}").replace("-", MINUS)


FORMATS: dict[str, Callable[[float], str]] = {
    "percent1": _fixed(1, 100),
    "percent2": _fixed(2, 100),
    "points": _fixed(1, 100, sign=True),  # a difference of fractions, in percentage points
    "fixed1": _fixed(1),
    "fixed2": _fixed(2),
    "fixed3": _fixed(3),
    "fixed4": _fixed(4),
    "signed1": _fixed(1, sign=True),
    "signed3": _fixed(3, sign=True),
    "integer": _fixed(0),
    "compact": _compact,
    "seconds": _seconds,
    "bytes": _bytes,
}


def number(node: Node | None, form: str) -> Markup:
    """A number of a JSON file as it is shown, with `data-source` and `data-format`; a dash for None.

    Raises:
        DataError: the node does not hold a number.
    """
    if node is None:
        return Markup('<span class="none" title="unknown">–</span>')
    text = FORMATS[form](node.number())
    return Markup('<span class="n" data-source="{}" data-format="{}">{}</span>').format(node.source, form, text)


def interval(node: Node | None, form: str) -> Markup:
    """A two-sided interval `[low, high]`, each end with its source; nothing for None."""
    if node is None:
        return Markup("")
    return Markup('<span class="ci">[{}, {}]</span>').format(number(node[0], form), number(node[1], form))
