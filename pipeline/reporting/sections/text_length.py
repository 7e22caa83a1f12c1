"""Recall against the number of tokens that are read, on long captions of composed scenes."""

from collections.abc import Sequence

from markupsafe import Markup

from pipeline.reporting.blocks import Block, Card, Figure, Gallery, Line, Picture, Section, Text
from pipeline.reporting.inputs import Node
from pipeline.reporting.names import TASK_TITLES, metric
from pipeline.reporting.panel import Axes, Series, curves
from pipeline.reporting.pictures import data_uri
from pipeline.reporting.results import task_blocks
from pipeline.reporting.run_data import RunData
from pipeline.reporting.sections.tasks import no_examples, not_evaluated
from pipeline.reporting.svg import drawing

_CHARTED = ("t2i_recall@1", "i2t_recall@1", "t2i_recall@10", "i2t_recall@10")


def text_length(run: RunData) -> Section:
    """Curves, the table and some captions."""
    result = run.results.get("long_text")
    blocks: list[Block] = [
        Text("Pictures are composed scenes; captions are long, and cut at a number of tokens.", "note")
    ]
    if result is None:
        blocks.append(not_evaluated("long_text"))
    else:
        rows = [row for row in result.nodes("rows") if row.get("tokens") is not None]
        charts = [chart for name in _CHARTED if (chart := _chart([r for r in rows if r["metric"].text() == name], run))]
        if charts:
            names = {row["aligner"].text() for row in rows}
            caption = (
                "Recall against the tokens that are read, with 95 % intervals over concept families; dashed: chance."
            )
            blocks.append(Figure(charts, caption, run.cast.legend(names)))
        blocks += task_blocks(result, run.cast)
    examples = run.examples["long_text"].nodes("examples") if "long_text" in run.examples else []
    if examples:
        blocks.append(
            Gallery("Composed scenes and the rank of their own caption", [_card(n, run) for n in examples], wide=True)
        )
    elif result is not None:
        blocks.append(no_examples(run, "long_text"))
    return Section("text-length", TASK_TITLES["long_text"], "Text length", blocks)


def _chart(rows: Sequence[Node], run: RunData) -> Markup | None:
    if not rows:
        return None
    by_aligner: dict[str, list[Node]] = {}
    for row in sorted(rows, key=lambda row: row["tokens"].number()):
        by_aligner.setdefault(row["aligner"].text(), []).append(row)
    series = [_series(name, by_aligner[name], run.cast.colour(name)) for name in run.cast.ordered(set(by_aligner))]
    first = next(iter(by_aligner.values()))
    tokens = [row["tokens"].number() for row in first]
    chance = Series("chance", "chance", tokens, [100 * row["chance"].number() for row in first])
    name = metric(rows[0]["metric"].text())
    axes = Axes(name, "tokens read", "per cent", width=330)
    heights = [y for one in series for y in (*one.y, *one.high)] + list(chance.y)
    across, up = axes.scales(sorted({x for one in series for x in one.x}), heights, log=len(tokens) > 1)
    ticks = sorted({x for one in series for x in one.x})
    parts = axes.frame(across, up, ticks) + curves([chance], across, up) + curves(series, across, up, dots=True)
    words = "; ".join(f"{one.name} {one.y[0]:.1f} to {one.y[-1]:.1f} %" for one in series)
    return drawing(axes.width, axes.height, f"{name} against tokens read: {words}", parts)


def _series(name: str, rows: Sequence[Node], colour: str) -> Series:
    values = [100 * row["value"].number() for row in rows]
    ends = [row.get("ci") for row in rows]
    lows = [value if end is None else 100 * end[0].number() for value, end in zip(values, ends, strict=True)]
    highs = [value if end is None else 100 * end[1].number() for value, end in zip(values, ends, strict=True)]
    return Series(name, colour, [row["tokens"].number() for row in rows], values, lows, highs)


def _card(node: Node, run: RunData) -> Card:
    scene = node["scene"]
    caption = run.library.string(scene["group"].text(), scene["dataset"].text(), node["text_id"])
    ranks = [
        Line(f"first {tokens} tokens", "", f"rank {rank.number():.0f}") for tokens, rank in node["ranks"].entries()
    ]
    picture = Picture(data_uri(run.library.image(scene)), "Composed scene", "composed scene", large=True)
    among = node.get("candidates")
    note = "" if among is None else f"rank of this scene among {among.number():.0f}, asked with its caption"
    return Card("Composed scene", note, picture, lines=ranks, passage=caption)
