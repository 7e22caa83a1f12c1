"""The blocks that all tasks share: values, protocol, what was left out, sentences, differences."""

from collections.abc import Callable, Sequence
from functools import partial

from markupsafe import Markup

from pipeline.reporting.blocks import Block, Bullets, Content, Folded, Table, Text
from pipeline.reporting.inputs import Node
from pipeline.reporting.names import counted, is_fraction, key_of, language, metric, protocol
from pipeline.reporting.numbers import interval, number
from pipeline.reporting.style import AlignerStyle

Key = tuple[str, str, str, str, str]
Order = Callable[[list[Key]], list[Key]]
SMALL = 0.02  # a smaller fraction is shown with two decimals of a per cent
_ASPECTS = ("data set", "metric", "prompts", "language", "tokens")
_RULE = "the interval of the paired difference excludes zero, and that of the better one chance"
_HIGHER = Markup('<span class="better" title="better than {0}: {1}">▲</span>')
_LOWER = Markup('<span class="worse" title="worse than {0}: {1}">▼</span>')


def by_key(nodes: Sequence[Node]) -> dict[Key, dict[str, Node]]:
    """Rows by key, then by aligner."""
    grouped: dict[Key, dict[str, Node]] = {}
    for node in nodes:
        grouped.setdefault(key_of(node), {})[node["aligner"].text()] = node
    return grouped


def task_blocks(result: Node, style: AlignerStyle, order: Order = list) -> list[Block]:
    """Table of values, protocol, what was left out, sentences and differences of a task's result.

    Args:
        order: puts the keys of the table in order; as they come, unless another one is given.
    """
    rows, differences = result.nodes("rows"), result.nodes("differences")
    source = result.file.as_posix()
    blocks: list[Block] = []
    if rows:
        blocks.append(_values(rows, differences, source, style, order))
    else:
        blocks.append(Text("The task was run and has no rows: nothing could be evaluated.", "missing"))
    blocks.append(Text(protocol(result)))
    if caveats := result.texts("caveats"):
        blocks += [Text("Controls that differ in more than the weights of one encoder:"), Bullets(caveats)]
    if left := result.texts("left_out"):
        blocks += [Text("Left out:"), Bullets(left)]
    if sentences := result.texts("sentences"):
        blocks.append(Folded(f"In words: {counted(len(sentences), 'comparison')}", [Bullets(sentences)]))
    if differences:
        table = _differences(differences, source)
        blocks.append(
            Folded(f"Differences and ratios with intervals: {counted(len(differences), 'comparison')}", [table])
        )
    return blocks


def _values(rows: list[Node], differences: list[Node], source: str, style: AlignerStyle, order: Order) -> Table:
    grouped = by_key(rows)
    aligners = style.ordered({row["aligner"].text() for row in rows})
    marks = _marks(differences, style)
    shown = _varying(list(grouped))
    classes = any(row.get("most_frequent") is not None for row in rows)
    lines: list[list[Content]] = []
    for key in order(list(grouped)):
        by_aligner = grouped[key]
        form = _form(key, by_aligner)
        first = next(iter(by_aligner.values()))
        line: list[Content] = [_aspect(key, place) for place in shown]
        line.append(number(first["chance"], "percent2" if is_fraction(key[1]) else form))
        line += [number(first.get("most_frequent"), form)] if classes else []
        line += [_cell(by_aligner.get(name), form, marks.get((name, key))) for name in aligners]
        lines.append(line)
    caption = "Fractions in per cent with 95 % intervals over concept families."
    if marks:
        caption += f" ▲ ▼: better or worse than its control; {_RULE}."
    if classes:
        caption += " Most frequent: what answering the most frequent class every time would score."
    levels = ["chance", *(["most frequent"] if classes else [])]
    columns = [*(_ASPECTS[place] for place in shown), *levels, *(style.label(name) for name in aligners)]
    return Table(caption, source, columns, lines, headers=len(shown))


def _form(key: Key, by_aligner: dict[str, Node]) -> str:
    """Per cent with a decimal, or two where all values are small; ranks with one."""
    if not is_fraction(key[1]):
        return "fixed1"
    return "percent2" if all(row["value"].number() < SMALL for row in by_aligner.values()) else "percent1"


def _cell(row: Node | None, form: str, mark: Markup | None) -> Markup:
    if row is None:
        return number(None, form)
    return Markup("{}{} {}").format(number(row["value"], form), mark or Markup(""), interval(row.get("ci"), form))


def _marks(differences: list[Node], style: AlignerStyle) -> dict[tuple[str, Key], Markup]:
    """An arrow for each established difference from the control, by aligner and key; for ranks, lower is better."""
    marks: dict[tuple[str, Key], Markup] = {}
    for node in differences:
        control = style.control_of(node["aligner"].text())
        if node["versus"].text() != control or not node["established"].value:
            continue
        higher = (node["difference"].number() > 0) == is_fraction(node["metric"].text())
        marks[node["aligner"].text(), key_of(node)] = (_HIGHER if higher else _LOWER).format(control, _RULE)
    return marks


def _differences(differences: list[Node], source: str) -> Table:
    shown = _varying([key_of(node) for node in differences])
    lines = []
    for node in differences:
        key = key_of(node)
        form = "points" if is_fraction(key[1]) else "signed1"
        line: list[Content] = [f"{node['aligner'].text()} − {node['versus'].text()}"]
        line += [_aspect(key, place) for place in shown]
        line.append(_pair(node["difference"], node.get("ci"), form))
        ratio = node.get("ratio")
        line.append(_pair(ratio, node.get("ratio_ci"), "fixed2"))
        line.append(number(node.get("p"), "compact"))
        line.append("established" if node["established"].value else "not established")
        lines.append(line)
    caption = (
        "Paired differences (fractions in percentage points) and ratios, with 95 % intervals over concept families. "
        f"Established: {_RULE}. P-values are two-sided, of no difference; neither is corrected for the number of them."
    )
    columns = ["comparison", *(_ASPECTS[place] for place in shown), "difference", "ratio", "p", "verdict"]
    return Table(caption, source, columns, lines, headers=1 + len(shown))


def _pair(value: Node | None, ends: Node | None, form: str) -> Markup:
    return Markup("{} {}").format(number(value, form), interval(ends, form))


def _varying(keys: Sequence[Key]) -> list[int]:
    """Data set and metric always; prompts, language and tokens where they vary."""
    return [place for place in range(len(_ASPECTS)) if place < 2 or len({key[place] for key in keys}) > 1]


def _aspect(key: Key, place: int) -> str:
    words = {1: metric, 3: language}.get(place, partial(str))
    return words(key[place]) or "–"
