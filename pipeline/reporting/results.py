"""The blocks that every evaluation task shares: its table, its differences, its protocol, and what it says in words."""

from collections.abc import Sequence
from functools import partial

from markupsafe import Markup

from pipeline.reporting.blocks import Block, Bullets, Content, Folded, Table, Text
from pipeline.reporting.inputs import Node
from pipeline.reporting.names import is_fraction, key_of, language, metric, protocol
from pipeline.reporting.numbers import interval, number
from pipeline.reporting.run_data import Cast

Key = tuple[str, str, str, str, str]
SMALL = 0.02  # a fraction below it is shown with two decimals of a per cent
_ASPECTS = ("data set", "metric", "prompts", "language", "tokens")
_HIGHER = Markup(
    '<span class="better" title="better than {0}: the interval of the paired difference excludes zero">▲</span>'
)
_LOWER = Markup(
    '<span class="worse" title="worse than {0}: the interval of the paired difference excludes zero">▼</span>'
)


def by_key(nodes: Sequence[Node]) -> dict[Key, dict[str, Node]]:
    """Rows by what they are about, then by aligner."""
    grouped: dict[Key, dict[str, Node]] = {}
    for node in nodes:
        grouped.setdefault(key_of(node), {})[node["aligner"].text()] = node
    return grouped


def task_blocks(result: Node, cast: Cast) -> list[Block]:
    """Table of values, protocol, sentences, differences and what was left out."""
    rows, differences = result.nodes("rows"), result.nodes("differences")
    source = result.file.as_posix()
    blocks: list[Block] = []
    if rows:
        blocks.append(_values(rows, differences, source, cast))
    else:
        blocks.append(Text("The task was run and has no row: nothing could be evaluated.", "missing"))
    blocks.append(Text(protocol(result)))
    if left := result.texts("left_out"):
        blocks += [Text("Left out:"), Bullets(left)]
    if sentences := result.texts("sentences"):
        blocks.append(Folded(f"In words: {len(sentences)} comparisons", [Bullets(sentences)]))
    if differences:
        table = _differences(differences, source)
        blocks.append(Folded(f"Differences and ratios with intervals: {len(differences)} comparisons", [table]))
    return blocks


def _values(rows: list[Node], differences: list[Node], source: str, cast: Cast) -> Table:
    grouped = by_key(rows)
    aligners = cast.ordered({row["aligner"].text() for row in rows})
    marks = _marks(differences, cast.control)
    shown = _varying(list(grouped))
    lines: list[list[Content]] = []
    for key, by_aligner in grouped.items():
        form = _form(key, by_aligner)
        chance = next(iter(by_aligner.values()))["chance"]
        line: list[Content] = [_aspect(key, place) for place in shown]
        line.append(number(chance, "percent2" if is_fraction(key[1]) else form))
        line += [_cell(by_aligner.get(name), form, marks.get((name, key))) for name in aligners]
        lines.append(line)
    heads = [f"{name} (control)" if name == cast.control != "control" else name for name in aligners]
    caption = (
        "Fractions in per cent with 95 % intervals over concept families. "
        f"▲ ▼: differs from {cast.control}, the 95 % interval of the paired difference excludes zero."
    )
    return Table(caption, source, [*(_ASPECTS[p] for p in shown), "chance", *heads], lines, headers=len(shown))


def _form(key: Key, by_aligner: dict[str, Node]) -> str:
    """Per cent with a decimal, or two where all values are small; ranks with one."""
    if not is_fraction(key[1]):
        return "fixed1"
    return "percent2" if all(row["value"].number() < SMALL for row in by_aligner.values()) else "percent1"


def _cell(row: Node | None, form: str, mark: Markup | None) -> Markup:
    if row is None:
        return number(None, form)
    return Markup("{}{} {}").format(number(row["value"], form), mark or Markup(""), interval(row.get("ci"), form))


def _marks(differences: list[Node], control: str) -> dict[tuple[str, Key], Markup]:
    """An arrow for each established difference from the control; for ranks, lower is better."""
    found = {}
    for node in differences:
        if node["versus"].text() != control or not node["excludes_zero"].value:
            continue
        higher = (node["difference"].number() > 0) == is_fraction(node["metric"].text())
        found[node["aligner"].text(), key_of(node)] = (_HIGHER if higher else _LOWER).format(control)
    return found


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
        line.append("established" if node["excludes_zero"].value else "not established")
        lines.append(line)
    caption = (
        "Paired differences (fractions in percentage points) and ratios, with 95 % intervals over concept families."
    )
    columns = ["comparison", *(_ASPECTS[place] for place in shown), "difference", "ratio", "difference from zero"]
    return Table(caption, source, columns, lines, headers=1 + len(shown))


def _pair(value: Node | None, ends: Node | None, form: str) -> Markup:
    return Markup("{} {}").format(number(value, form), interval(ends, form))


def _varying(keys: Sequence[Key]) -> list[int]:
    """Data set and metric always; prompts, language and tokens where they vary."""
    return [place for place in range(len(_ASPECTS)) if place < 2 or len({key[place] for key in keys}) > 1]


def _aspect(key: Key, place: int) -> str:
    words = {1: metric, 3: language}.get(place, partial(str))
    return words(key[place]) or "–"
