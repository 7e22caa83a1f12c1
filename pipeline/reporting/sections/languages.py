"""English training, other languages at test time."""

from markupsafe import Markup

from pipeline.reporting.blocks import Block, Card, Figure, Gallery, Line, Picture, Section
from pipeline.reporting.charts import Estimate, Group, dots
from pipeline.reporting.inputs import Node
from pipeline.reporting.names import TASK_TITLES, language, metric
from pipeline.reporting.results import by_key, task_blocks
from pipeline.reporting.run_data import RunData
from pipeline.reporting.sections.tasks import mark, no_examples, not_evaluated

_CHARTED = ("concept_top1_accuracy", "t2i_recall@1")


def languages(run: RunData) -> Section:
    """A chart per data set, the table, and what was recognised in which language."""
    result = run.results.get("multilingual")
    blocks: list[Block] = []
    if result is None:
        blocks.append(not_evaluated("multilingual"))
    else:
        rows = result.nodes("rows")
        datasets = list(dict.fromkeys(row["dataset"].text() for row in rows))
        charts = [chart for name in datasets for measure in _CHARTED if (chart := _chart(rows, name, measure, run))]
        if charts:
            names = {row["aligner"].text() for row in rows}
            caption = (
                "Heads were trained on English alone. Whiskers: 95 % intervals over concept families; "
                "the upright dash is chance."
            )
            blocks.append(Figure(charts, caption, run.cast.legend(names)))
        blocks += task_blocks(result, run.cast)
    examples = run.examples["multilingual"].nodes("examples") if "multilingual" in run.examples else []
    if examples:
        blocks.append(
            Gallery("What each picture is taken for, language by language", [_card(n, run) for n in examples])
        )
    elif result is not None:
        blocks.append(no_examples(run, "multilingual"))
    return Section("languages", TASK_TITLES["multilingual"], "Languages", blocks)


def _chart(rows: list[Node], dataset: str, measure: str, run: RunData) -> Markup | None:
    grouped = by_key([r for r in rows if r["dataset"].text() == dataset and r["metric"].text() == measure])
    if not grouped:
        return None
    ordered = sorted(grouped, key=lambda key: (key[3] != "average", key[3] != "en", key[3]))
    groups = []
    for key in ordered:
        found = grouped[key]
        estimates = [_estimate(found[name], run.cast.colour(name)) for name in run.cast.ordered(set(found))]
        chance = 100 * next(iter(found.values()))["chance"].number()
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
    for code, found in node["languages"].entries():
        identifier = found.get("text_id")
        words = found["concept"].text() if identifier is None else run.library.string("pairs", dataset, identifier)
        lines.append(Line(words, mark(found["right"]), language(code), code))
    return Card(right, dataset, Picture(run.library.thumbnail(node["image"]), f"Picture of {right}"), lines=lines)
