"""What the run established: headline figures, and the differences between aligners."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from pipeline.config import TASKS, Headline
from pipeline.reporting.blocks import Block, Bullets, Figure, Folded, Heading, Section, Text, Tile, Tiles, missing
from pipeline.reporting.charts import Estimate, Group, dots
from pipeline.reporting.inputs import Node
from pipeline.reporting.names import key_of, language, listed, metric
from pipeline.reporting.numbers import interval, number
from pipeline.reporting.results import SMALL, Key, by_key
from pipeline.reporting.run_data import RunData


@dataclass(frozen=True)
class Lead:
    """A figure that the page leads with.

    Attributes:
        rows: by aligner.
        differences: between aligners, of the same key.
    """

    task: str
    key: Key
    rows: dict[str, Node]
    differences: list[Node]

    @property
    def measure(self) -> str:
        """Data set, metric, and the language or length of the texts where it matters, in words."""
        dataset, name, _, code, tokens = self.key
        words = [dataset, metric(name)]
        if code == "average":
            words.append("other languages")
        elif code not in ("", "en"):
            words.append(language(code))
        return ", ".join([*words, *([f"{tokens} tokens"] if tokens else [])])


def leads(run: RunData) -> list[Lead]:
    """Of each task the figures that sum it up, on every data set."""
    chosen = []
    for task, result in run.results.items():
        differences = result.nodes("differences")
        grouped = by_key(result.nodes("rows"))
        for key in _headline_keys(TASKS[task].headline, list(grouped)):
            chosen.append(Lead(task, key, grouped[key], [node for node in differences if key_of(node) == key]))
    return chosen


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
    if settings.control is not None and settings.control != settings.showcase:
        shown.append(f"the control “{settings.control}”")
    if set(settings.aligners) - {settings.showcase, settings.control}:
        shown.append("other aligners" if shown else "the aligners")
    return (
        "Two frozen encoders, encoded once, and a small head between them, tested on concepts that no head was trained "
        f"on. {datasets} Shown below: {listed([*shown, 'chance'])}."
    )


def main_finding(run: RunData) -> str:
    """How often the showcase beats the control, or chance where there is no control, over the headline figures."""
    style, chosen = run.style, leads(run)
    if not run.settings.tasks:
        return "Nothing is evaluated: params.yaml names no task."
    rows = [lead.rows[style.showcase] for lead in chosen if style.showcase in lead.rows]
    if not rows:
        return "Nothing has been evaluated yet." if not run.results else "There are no headline figures to sum up."
    if style.control in (None, style.showcase):
        above = sum(_above_chance(row) for row in rows)
        return f"“{style.showcase}” is above chance on {above} of {len(rows)} headline measures."
    verdicts = [
        _verdict(node)
        for lead in chosen
        for node in lead.differences
        if (node["aligner"].text(), node["versus"].text()) == (style.showcase, style.control)
    ]
    if not verdicts:
        return f"“{style.showcase}” has not been compared with the control “{style.control}”."
    won, lost = verdicts.count(1), verdicts.count(-1)
    rest = len(verdicts) - won - lost
    text = f"“{style.showcase}” beats the control on {won} of {len(verdicts)} headline measures"
    text += f", falls behind on {lost}" if lost else ""
    return f"{text}; on {rest} no difference is established." if rest else f"{text}."


def findings(run: RunData) -> Section:
    """Tiles, a chart of the differences, and the same in sentences."""
    chosen = leads(run)
    blocks: list[Block] = []
    if not run.settings.tasks:
        blocks.append(Text("params.yaml names no task under evaluate.tasks.", "note"))
    elif not run.results:
        blocks.append(missing("No task has been evaluated.", "dvc repro evaluate"))
    elif not chosen:
        blocks.append(Text("The tasks were run and have no headline figures.", "missing"))
    else:
        tiles = _tiles(chosen, run)
        blocks += [*([Tiles(tiles)] if tiles else []), *_charts(chosen, run)]
        blocks.append(Text(
            "The figures compare one set-up with another on this data. They cannot be compared with the tables of the "
            "paper, whose models were trained on 20 million photographs and tested on ImageNet, Flickr30k and others.",
            "note",
        ))  # fmt: skip
        blocks += _sentences(chosen, run)
    return Section("findings", "What was found", "Findings", blocks)


def _headline_keys(headline: Headline, keys: Sequence[Key]) -> list[Key]:
    """The keys that the rule of a task picks."""
    last_prompts = dict(list(dict.fromkeys((key[0], key[2]) for key in keys)))  # of each data set
    most_tokens: dict[str, int] = {}
    for dataset, _, _, _, tokens in keys:
        most_tokens[dataset] = max(int(tokens or 0), most_tokens.get(dataset, 0))
    return [
        key
        for key in keys
        if key[1].endswith(headline.metric)
        and (headline.languages is None or key[3] in headline.languages)
        and (not headline.last_prompts or key[2] == last_prompts[key[0]])
        and (not headline.most_tokens or key[4] == str(most_tokens[key[0]]))
    ]


def _tiles(chosen: Sequence[Lead], run: RunData) -> list[Tile]:
    """The showcase's figure of each lead, with its interval, chance and the control."""
    style = run.style
    tiles = []
    for lead in chosen:
        row = lead.rows.get(style.showcase or "")
        if row is None:
            continue
        form = "percent2" if row["value"].number() < SMALL else "percent1"
        value = Markup("{} <small>%</small>").format(number(row["value"], form))
        lines = [interval(row.get("ci"), form), Markup("chance {}").format(number(row["chance"], "percent2"))]
        control = lead.rows.get(style.control or "")
        if control is not None and style.control != style.showcase:
            lines.append(Markup("control {}").format(number(control["value"], form)))
        note = Markup("").join(Markup('<span class="under">{}</span>').format(line) for line in lines if line)
        tiles.append(Tile(f"{TASKS[lead.task].title}: {lead.measure}", value, note))
    return tiles


def _charts(chosen: Sequence[Lead], run: RunData) -> list[Block]:
    """Differences from the control, and from other aligners where params.yaml asks for them."""
    style = run.style
    blocks: list[Block] = []
    groups, names = [], set()
    for lead in chosen:
        nodes = [node for node in lead.differences if node["versus"].text() == style.control]
        if nodes:
            estimates = [_estimate(node, style.colour(node["aligner"].text())) for node in nodes]
            groups.append(Group(_short(lead), estimates))
            names |= {node["aligner"].text() for node in nodes}
    if groups:
        words = f"Differences from {style.control} with 95 % intervals"
        chart = dots(groups, words, words, "percentage points", reference=0.0, width=760)
        caption = (
            "Right of the line: better than the control. If an interval does not cross the line, the difference is "
            "established."
        )
        blocks.append(Figure([chart], caption, style.legend(names)))
    pairs = sorted({(node["aligner"].text(), node["versus"].text()) for lead in chosen for node in lead.differences})
    charts = [_pair_chart(pair, chosen, run) for pair in pairs if pair[1] != style.control]
    if charts:
        blocks.append(Figure(charts, "Right of the line: the first of the two is better."))
    return blocks


def _pair_chart(pair: tuple[str, str], chosen: Sequence[Lead], run: RunData) -> Markup:
    aligner, versus = pair
    groups = [
        Group(_short(lead), [_estimate(node, run.style.colour(aligner))])
        for lead in chosen
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


def _estimate(node: Node, colour: str) -> Estimate:
    ends = node.get("ci")
    low, high = (None, None) if ends is None else (100 * ends[0].number(), 100 * ends[1].number())
    return Estimate(colour, 100 * node["difference"].number(), low, high, faint=_verdict(node) == 0)


def _verdict(node: Node) -> int:
    """1: better, -1: worse, 0: not established."""
    if not node["excludes_zero"].value:
        return 0
    return 1 if node["difference"].number() > 0 else -1


def _sentences(chosen: Sequence[Lead], run: RunData) -> list[Block]:
    """Task by task, what the headline differences establish."""
    blocks: list[Block] = []
    for task in run.results:
        items = [_words(node, lead) for lead in chosen if lead.task == task for node in lead.differences]
        if items:
            blocks += [Heading(TASKS[task].title), Bullets(items)]
    return [Folded("The same in words", blocks)] if blocks else []


def _words(node: Node, lead: Lead) -> Markup:
    verb = {1: "beats", -1: "falls behind", 0: "against"}[_verdict(node)]
    ending = "" if _verdict(node) else ": no established difference"
    return Markup("<strong>{}</strong> {} <strong>{}</strong> on {}{} ({} points {})").format(
        node["aligner"].text(),
        verb,
        node["versus"].text(),
        lead.measure,
        ending,
        number(node["difference"], "points"),
        interval(node.get("ci"), "points"),
    )
