"""Retrieval with long captions, by the number of tokens read."""

from collections.abc import Sequence

from markupsafe import Markup

from pipeline.reporting.blocks import Block, Card, Figure, Gallery, Line, Picture, Section
from pipeline.reporting.inputs import Node
from pipeline.reporting.names import metric
from pipeline.reporting.panel import Axes, Series, curves
from pipeline.reporting.pictures import data_uri
from pipeline.reporting.run_data import RunData
from pipeline.reporting.sections.task import task_section
from pipeline.reporting.svg import drawing

_CHARTED = ("t2i_recall@1", "i2t_recall@1", "t2i_recall@10", "i2t_recall@10")
_INTRO = "Captions are long, and cut after a number of tokens."


def text_length(run: RunData, task: str) -> Section:
    """Recall by length of the captions, and the ranks of some images."""
    result = run.results.get(task)
    datasets = dict.fromkeys(row["dataset"].text() for row in result.nodes("rows")) if result else {}
    composed = ", ".join(f"“{name}”" for name in datasets if name in run.settings.scenes)
    intro = f"{_INTRO} The images of {composed} are composed scenes, not photographs." if composed else _INTRO
    return task_section(run, task, intro=intro, charts=_charts, galleries=_galleries)


def _charts(rows: Sequence[Node], run: RunData) -> list[Block]:
    cut = [row for row in rows if row.get("tokens") is not None]
    datasets = list(dict.fromkeys(row["dataset"].text() for row in cut))
    charts = []
    for dataset in datasets:
        for name in _CHARTED:
            shown = [row for row in cut if (row["dataset"].text(), row["metric"].text()) == (dataset, name)]
            if shown:
                title = metric(name) if len(datasets) == 1 else f"{dataset}: {metric(name)}"
                charts.append(_chart(shown, title, run))
    if not charts:
        return []
    caption = "Recall by number of tokens read, with 95 % intervals over concept families. Dashed: chance."
    return [Figure(charts, caption, run.style.legend(row["aligner"].text() for row in cut))]


def _galleries(examples: Sequence[Node], run: RunData) -> list[Gallery]:
    return [
        Gallery(
            "Images and their ranks, with their captions as queries", [_card(node, run) for node in examples], wide=True
        )
    ]


def _chart(rows: Sequence[Node], title: str, run: RunData) -> Markup:
    by_aligner: dict[str, list[Node]] = {}
    for row in sorted(rows, key=lambda row: row["tokens"].number()):
        by_aligner.setdefault(row["aligner"].text(), []).append(row)
    series = [_series(name, by_aligner[name], run.style.colour(name)) for name in run.style.ordered(by_aligner)]
    chances = {row["tokens"].number(): 100 * row["chance"].number() for row in rows}
    ticks = sorted(chances)
    chance = Series("chance", "chance", ticks, [chances[tokens] for tokens in ticks])
    axes = Axes(title, "tokens read", "per cent", width=330)
    heights = [y for one in series for y in (*one.y, *one.high)] + list(chance.y)
    across, up = axes.scales(ticks, heights, log=len(ticks) > 1)
    parts = axes.frame(across, up, ticks) + curves([chance], across, up) + curves(series, across, up, dots=True)
    words = "; ".join(f"{one.name} {one.y[0]:.1f} to {one.y[-1]:.1f} %" for one in series)
    return drawing(axes.width, axes.height, f"{title} by tokens read: {words}", parts)


def _series(name: str, rows: Sequence[Node], colour: str) -> Series:
    values = [100 * row["value"].number() for row in rows]
    ends = [row.get("ci") for row in rows]
    lows = [value if end is None else 100 * end[0].number() for value, end in zip(values, ends, strict=True)]
    highs = [value if end is None else 100 * end[1].number() for value, end in zip(values, ends, strict=True)]
    return Series(name, colour, [row["tokens"].number() for row in rows], values, lows, highs)


def _card(node: Node, run: RunData) -> Card:
    reference = node["scene"]
    group, dataset = reference["group"].text(), reference["dataset"].text()
    kind, of = ("composed scene", "") if group == "scenes" else ("image", f" of {dataset}")
    what = f"{kind.capitalize()}{of}"
    lines = [
        Line(f"first {tokens} tokens", "", f"rank {place.number():.0f}") for tokens, place in node["ranks"].entries()
    ]
    picture = Picture(data_uri(run.library.image(reference)), what, f"{kind}{of}", large=True)
    among = node.get("candidates")
    note = "" if among is None else f"rank among {among.number():.0f} images, with its caption as the query"
    return Card(what, note, picture, lines=lines, passage=run.library.string(group, dataset, node["text_id"]))
