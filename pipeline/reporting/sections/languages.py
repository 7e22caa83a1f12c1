"""Heads trained on English, tested in other languages."""

from collections.abc import Sequence

from markupsafe import Markup

from pipeline.reporting.blocks import Block, Card, Figure, Gallery, Line, Picture, Section
from pipeline.reporting.charts import Estimate, Group, dots
from pipeline.reporting.inputs import Node
from pipeline.reporting.names import language, metric
from pipeline.reporting.results import by_key
from pipeline.reporting.run_data import RunData
from pipeline.reporting.sections.task import mark, task_section

_CHARTED = ("concept_top1_accuracy", "t2i_recall@1")


def languages(run: RunData, task: str) -> Section:
    """A chart per data set and metric, and the predicted concept of some images in each language."""
    return task_section(run, task, charts=_charts, galleries=_galleries)


def _charts(rows: Sequence[Node], run: RunData) -> list[Block]:
    datasets = dict.fromkeys(row["dataset"].text() for row in rows)
    charts = [chart for name in datasets for measure in _CHARTED if (chart := _chart(rows, name, measure, run))]
    if not charts:
        return []
    caption = (
        "Heads were trained on English alone. Whiskers: 95 % intervals over concept families. Vertical dash: chance."
    )
    return [Figure(charts, caption, run.style.legend(row["aligner"].text() for row in rows))]


def _galleries(examples: Sequence[Node], run: RunData) -> list[Gallery]:
    return [Gallery("Predicted concept of each image, by language", [_card(node, run) for node in examples])]


def _chart(rows: Sequence[Node], dataset: str, measure: str, run: RunData) -> Markup | None:
    grouped = by_key([row for row in rows if row["dataset"].text() == dataset and row["metric"].text() == measure])
    if not grouped:
        return None
    ordered = sorted(grouped, key=lambda key: (key[3] != "average", key[3] != "en", key[3]))
    groups = []
    for key in ordered:
        by_aligner = grouped[key]
        estimates = [_estimate(by_aligner[name], run.style.colour(name)) for name in run.style.ordered(by_aligner)]
        chance = 100 * next(iter(by_aligner.values()))["chance"].number()
        groups.append(Group("average" if key[3] == "average" else language(key[3]), estimates, chance))
    title = f"{dataset}: {metric(measure)}"
    return dots(groups, f"{title}, by language", title, "per cent", width=420)


def _estimate(row: Node, colour: str) -> Estimate:
    ends = row.get("ci")
    low, high = (None, None) if ends is None else (100 * ends[0].number(), 100 * ends[1].number())
    return Estimate(colour, 100 * row["value"].number(), low, high)


def _card(node: Node, run: RunData) -> Card:
    dataset, right = node["dataset"].text(), node["right"].text()
    lines = []
    for code, answer in node["languages"].entries():
        identifier = answer.get("text_id")
        words = answer["concept"].text() if identifier is None else run.library.string("pairs", dataset, identifier)
        lines.append(Line(words, mark(answer["right"]), language(code), code))
    return Card(right, dataset, Picture(run.library.thumbnail(node["image"]), f"Image of {right}"), lines=lines)
