"""What the run established: headline figures, and the differences between aligners."""

from collections.abc import Sequence

from markupsafe import Markup

from pipeline.config import TASKS, split_method
from pipeline.reporting.blocks import Block, Bullets, Figure, Folded, Heading, Section, Text, Tile, Tiles, missing
from pipeline.reporting.charts import Estimate, Group, dots
from pipeline.reporting.inputs import Node
from pipeline.reporting.leads import LEVEL, Lead, Leads
from pipeline.reporting.names import counted, is_fraction, listed, metric
from pipeline.reporting.numbers import interval, number
from pipeline.reporting.results import SMALL
from pipeline.reporting.run_data import RunData


def title(run: RunData) -> str:
    """The models that the showcase aligns."""
    views = run.settings.views.get(run.style.showcase or "")
    if views is None:
        return "A Permafrost run"
    return f"{run.model_of(views[0])} aligned with {run.model_of(views[1])}"


def _texts_alone(run: RunData, dataset: str) -> bool:
    """Whether a data set only scores text encoders."""
    about = run.sources.get(dataset)
    return about is not None and about.optional("source") == "text-tasks"


def subtitle(run: RunData) -> str:
    """What was done, in a few sentences."""
    settings = run.settings
    pictured = [name for name in settings.datasets if not _texts_alone(run, name)]
    datasets = f"Data sets: {', '.join(pictured) or 'none'}."
    if not settings.aligners:
        return f"Frozen encoders, encoded once. {datasets}"
    shown = []
    if settings.showcase is not None:
        shown.append(f"the aligner “{settings.showcase}”")
    controls = [name for name in dict.fromkeys(settings.controls.values()) if name != settings.showcase]
    if controls:
        named = listed([f"“{name}”" for name in controls])
        shown.append(f"the control{'s' if len(controls) > 1 else ''} {named}")
    if set(settings.aligners) - {settings.showcase, *controls}:
        shown.append("other aligners" if shown else "the aligners")
    return (
        "Two frozen encoders, encoded once, and a small head between them, tested on concepts that no head was trained "
        f"on. {datasets} Shown below: {listed([*shown, 'chance'])}."
    )


def main_finding(run: RunData) -> str:
    """How often the showcase beats its control, or chance where it has none, over the headline figures."""
    style, found = run.style, Leads(run)
    if not run.settings.tasks:
        return "Nothing is evaluated: params.yaml names no task."
    rows = [lead.rows[style.showcase] for lead in found.leads if style.showcase in lead.rows]
    if not rows:
        return "Nothing has been evaluated yet." if not run.results else "There are no headline figures to sum up."
    control = style.control_of(style.showcase or "")
    if control is None:
        above = sum(_above_chance(row) for row in rows)
        return f"“{style.showcase}” is above chance on {above} of {len(rows)} headline measures."
    verdicts = [
        found.verdict(node)
        for lead in found.leads
        for node in lead.differences
        if (node["aligner"].text(), node["versus"].text()) == (style.showcase, control)
    ]
    if not verdicts:
        return f"“{style.showcase}” has not been compared with its control “{control}”."
    won, lost = verdicts.count(1), verdicts.count(-1)
    rest = len(verdicts) - won - lost
    text = f"“{style.showcase}” beats its control on {won} of {len(verdicts)} headline measures"
    text += f", falls behind on {lost}" if lost else ""
    return f"{text}; on {rest} no difference is established." if rest else f"{text}."


def findings(run: RunData) -> Section:
    """Tiles, a chart of the differences, and the same in sentences."""
    found = Leads(run)
    blocks: list[Block] = []
    if not run.settings.tasks:
        blocks.append(Text("params.yaml names no task under evaluate.tasks.", "note"))
    elif not run.results:
        blocks.append(missing("No task has been evaluated.", "dvc repro evaluate"))
    elif not found.leads:
        blocks.append(Text("The tasks were run and have no headline figures.", "missing"))
    else:
        tiles = _tiles(found.leads, run)
        blocks += [*([Tiles(tiles)] if tiles else []), *_charts(found, run)]
        if found.headline_comparisons:
            blocks.append(Text(_corrected(found)))
        blocks.append(Text(
            "The figures compare one set-up with another on this data. They cannot be compared with the tables of the "
            "paper, whose models were trained on 20 million photographs and tested on ImageNet, Flickr30k and others.",
            "note",
        ))  # fmt: skip
        blocks += _sentences(found, run)
    return Section("findings", "What was found", "Findings", blocks)


def _corrected(found: Leads) -> str:
    """How many comparisons there are, and how the verdicts of this section are corrected for their number."""
    return (
        f"This page makes {counted(found.comparisons, 'comparison')}, {found.headline_comparisons} of them of headline "
        f"figures. The verdicts of this section are corrected for the {found.headline_comparisons} by Holm's method: "
        f"with a chance of at most {100 * LEVEL:.0f} % that any of them is false. Further down no verdict is corrected."
    )


def _tiles(chosen: Sequence[Lead], run: RunData) -> list[Tile]:
    """The showcase's figure of each lead, with its interval, what chance and the control have, and what is beside it.

    Further methods of the showcase have tiles of their own.
    """
    style = run.style
    tiles = []
    for lead in chosen:
        for name in style.ordered(lead.rows):
            aligner, method = split_method(name)
            if aligner == style.showcase:
                what = ", ".join([lead.measure, *([method] if method else [])])
                tiles.append(_tile(f"{TASKS[lead.task].title}: {what}", name, lead, style.control_of(name)))
    return tiles


def _tile(title: str, name: str, lead: Lead, control: str | None) -> Tile:
    row = lead.rows[name]
    form = "percent2" if row["value"].number() < SMALL else "percent1"
    value = Markup("{} <small>%</small>").format(number(row["value"], form))
    lines = [interval(row.get("ci"), form), Markup("chance {}").format(number(row["chance"], "percent2"))]
    if (most := row.get("most_frequent")) is not None:
        lines.append(Markup("most frequent class {}").format(number(most, form)))
    if control in lead.rows:
        lines.append(Markup("control {}").format(number(lead.rows[control]["value"], form)))
    for rows in lead.beside.values():
        other = rows.get(name)
        if other is not None:
            measure = other["metric"].text()
            shown = number(other["value"], form if is_fraction(measure) else "fixed1")
            lines.append(Markup("{} {}").format(metric(measure).rpartition(", ")[2], shown))
    note = Markup("").join(Markup('<span class="under">{}</span>').format(line) for line in lines if line)
    return Tile(title, value, note)


def _charts(found: Leads, run: RunData) -> list[Block]:
    """Differences from the controls, and from other aligners where params.yaml asks for them."""
    style = run.style
    blocks: list[Block] = []
    groups, names = [], set()
    for lead in found.leads:
        nodes = [node for node in lead.differences if _from_control(node, run)]
        if nodes:
            estimates = [_estimate(node, style.colour(node["aligner"].text()), found) for node in nodes]
            groups.append(Group(_short(lead), estimates))
            names |= {node["aligner"].text() for node in nodes}
    if groups:
        words = "Differences from the control of each aligner with 95 % intervals"
        chart = dots(groups, words, words, "percentage points", reference=0.0, width=760)
        caption = (
            "Right of the line: better than the control of that aligner. Filled: established, after the correction "
            "for the number of comparisons."
        )
        blocks.append(Figure([chart], caption, style.legend(names)))
    pairs = {
        (node["aligner"].text(), node["versus"].text())
        for lead in found.leads
        for node in lead.differences
        if not _from_control(node, run)
    }
    charts = [_pair_chart(pair, found, run) for pair in sorted(pairs)]
    if charts:
        blocks.append(Figure(charts, "Right of the line: the first of the two is better."))
    return blocks


def _from_control(node: Node, run: RunData) -> bool:
    return node["versus"].text() == run.style.control_of(node["aligner"].text())


def _pair_chart(pair: tuple[str, str], found: Leads, run: RunData) -> Markup:
    aligner, versus = pair
    groups = [
        Group(_short(lead), [_estimate(node, run.style.colour(aligner), found)])
        for lead in found.leads
        for node in lead.differences
        if (node["aligner"].text(), node["versus"].text()) == pair
    ]
    title = f"{aligner} − {versus}"
    return dots(groups, f"{title}, with 95 % intervals", title, "percentage points", reference=0.0, width=560)


def _short(lead: Lead) -> str:
    return f"{TASKS[lead.task].short}: {lead.measure}"


def _above_chance(row: Node) -> bool:
    ends = row.get("ci")
    return ends is not None and ends[0].number() > row["chance"].number()


def _estimate(node: Node, colour: str, found: Leads) -> Estimate:
    ends = node.get("ci")
    low, high = (None, None) if ends is None else (100 * ends[0].number(), 100 * ends[1].number())
    return Estimate(colour, 100 * node["difference"].number(), low, high, faint=found.verdict(node) == 0)


def _sentences(found: Leads, run: RunData) -> list[Block]:
    """Task by task, what the headline differences establish."""
    blocks: list[Block] = []
    for task in run.results:
        items = [
            _words(node, lead, found.verdict(node))
            for lead in found.leads
            if lead.task == task
            for node in lead.differences
        ]
        if items:
            blocks += [Heading(TASKS[task].title), Bullets(items)]
    return [Folded("The same in words", blocks)] if blocks else []


def _words(node: Node, lead: Lead, verdict: int) -> Markup:
    verb = {1: "beats", -1: "falls behind", 0: "against"}[verdict]
    ending = "" if verdict else ": no established difference"
    return Markup("<strong>{}</strong> {} <strong>{}</strong> on {}{} ({} points {})").format(
        node["aligner"].text(),
        verb,
        node["versus"].text(),
        lead.measure,
        ending,
        number(node["difference"], "points"),
        interval(node.get("ci"), "points"),
    )
