"""What was found: headline figures and the differences that carry them."""

from dataclasses import dataclass

from markupsafe import Markup

from pipeline.reporting.blocks import Block, Bullets, Figure, Folded, Heading, Section, Text, Tile, Tiles, missing
from pipeline.reporting.charts import Estimate, Group, dots
from pipeline.reporting.inputs import Node
from pipeline.reporting.names import TASK_TITLES, key_of, language, metric
from pipeline.reporting.numbers import interval, number
from pipeline.reporting.results import SMALL, Key, by_key
from pipeline.reporting.run_data import RunData


@dataclass(frozen=True)
class Headline:
    """One of the figures that the page leads with: its task, its key, rows by aligner, differences."""

    task: str
    key: Key
    rows: dict[str, Node]
    differences: list[Node]

    @property
    def name(self) -> str:
        """Data set, metric and what else sets it apart, in words."""
        dataset, measure, _, code, tokens = self.key
        extra = {
            "multilingual": ["other languages" if code == "average" else language(code)],
            "segmentation": ["composed scenes"],
            "long_text": [f"{tokens} tokens"],
        }
        return ", ".join([dataset, metric(measure), *extra.get(self.task, [])])


def headlines(run: RunData) -> list[Headline]:
    """Per task the metric that sums it up, on every data set."""
    found = []
    for task, result in run.results.items():
        differences = result.nodes("differences")
        grouped = by_key(result.nodes("rows"))
        last_prompts = max((key[2] for key in grouped), key=[key[2] for key in grouped].index, default="")
        most_tokens = max((int(key[4]) for key in grouped if key[4]), default=0)
        for key, rows in grouped.items():
            _, measure, prompts, code, tokens = key
            leads = {
                "retrieval": measure.endswith("recall@1"),
                "classification": measure.endswith("top1_accuracy") and prompts == last_prompts,
                "multilingual": code == "average" and measure.endswith("top1_accuracy"),
                "segmentation": measure.endswith("mIoU") and code in ("", "en"),
                "segmentation_benchmarks": "mIoU" in measure and code in ("", "en"),
                "long_text": measure == "t2i_recall@1" and tokens == str(most_tokens),
            }
            if leads[task]:
                found.append(Headline(task, key, rows, [node for node in differences if key_of(node) == key]))
    return found


def title(run: RunData) -> str:
    """The models that the showcase aligns."""
    spec = run.params.get("aligners", {}).get(run.cast.showcase, {})
    if not spec:
        return "A Permafrost run"
    return f"{run.encoder_of(spec['image'])} aligned with {run.encoder_of(spec['text'])}"


def subtitle(run: RunData) -> str:
    """What was done, in a sentence."""
    names = ", ".join(run.params.get("datasets", {})) or "no data set"
    return (
        "Two frozen encoders, encoded once, and a small head between them, tested on concepts that no head was trained "
        f"on. Data sets: {names}. Shown below: the aligner “{run.cast.showcase}”, its random-weights control, "
        "chance, and the other aligners."
    )


def main_finding(run: RunData) -> str:
    """How often the showcase beats the control, counted over the headline figures."""
    verdicts = [
        _verdict(node)
        for headline in headlines(run)
        for node in headline.differences
        if (node["aligner"].text(), node["versus"].text()) == (run.cast.showcase, run.cast.control)
    ]
    if not verdicts:
        return "Nothing has been compared with the control yet."
    won, lost = verdicts.count(1), verdicts.count(-1)
    words = f"“{run.cast.showcase}” beats its random-weights control on {won} of {len(verdicts)} headline measures"
    rest = len(verdicts) - won - lost
    words += f", falls behind on {lost}" if lost else ""
    words += f"; on {rest} no difference is established" if rest else ""
    return words + "."


def findings(run: RunData) -> Section:
    """Tiles, a chart of the differences, and the sentences behind it."""
    found = headlines(run)
    blocks: list[Block] = []
    if not found:
        blocks.append(missing("No task has been evaluated.", "dvc repro evaluate"))
    else:
        blocks += [Tiles(_tiles(found, run)), *_charts(found, run)]
        blocks.append(Text(
            "These are small sets of drawn pictures with short names. The figures say how one set-up compares with "
            "another on this data; they cannot be compared with the tables of the paper, whose models were trained "
            "on 20 million photographs and tested on ImageNet, Flickr30k and others.",
            "note",
        ))  # fmt: skip
        blocks += _sentences(found, run)
    return Section("findings", "What was found", "Findings", blocks)


def _tiles(found: list[Headline], run: RunData) -> list[Tile]:
    """The showcase's figure for each headline, chance and control beneath."""
    tiles = []
    for headline in found:
        row = headline.rows.get(run.cast.showcase)
        if row is None:
            continue
        control = headline.rows.get(run.cast.control)
        form = "percent2" if row["value"].number() < SMALL else "percent1"
        value = Markup("{} <small>%</small>").format(number(row["value"], form))
        lines = [interval(row.get("ci"), form), Markup("chance {}").format(number(row["chance"], "percent2"))]
        if control is not None:
            lines.append(Markup("control {}").format(number(control["value"], form)))
        note = Markup("").join(Markup('<span class="under">{}</span>').format(line) for line in lines)
        tiles.append(Tile(headline.name, value, note))
    return tiles


def _charts(found: list[Headline], run: RunData) -> list[Block]:
    """Differences from the control, and from other aligners where params.yaml asks for them."""
    control = run.cast.control
    blocks: list[Block] = []
    against = [(h, [d for d in h.differences if d["versus"].text() == control]) for h in found]
    groups = [
        Group(h.name, [_estimate(d, run.cast.colour(d["aligner"].text())) for d in ds]) for h, ds in against if ds
    ]
    if groups:
        names = {d["aligner"].text() for _, ds in against for d in ds}
        words = f"Differences from {control} with 95 % intervals"
        chart = dots(groups, words, words, "percentage points", reference=0.0, width=620)
        caption = (
            "Right of the line: better than the control. An interval that misses the line is an established difference."
        )
        blocks.append(Figure([chart], caption, run.cast.legend(names)))
    pairs = sorted({(d["aligner"].text(), d["versus"].text()) for h in found for d in h.differences})
    charts = []
    for aligner, versus in pairs:
        if versus == control:
            continue
        groups = [
            Group(h.name, [_estimate(d, run.cast.colour(aligner))])
            for h in found
            for d in h.differences
            if (d["aligner"].text(), d["versus"].text()) == (aligner, versus)
        ]
        words = f"{aligner} − {versus}"
        charts.append(dots(groups, f"Differences {words}", words, "percentage points", reference=0.0, width=560))
    if charts:
        blocks.append(Figure(charts, "Paired differences between aligners, with 95 % intervals."))
    return blocks


def _estimate(node: Node, colour: str) -> Estimate:
    ends = node.get("ci")
    low, high = (None, None) if ends is None else (100 * ends[0].number(), 100 * ends[1].number())
    return Estimate(colour, 100 * node["difference"].number(), low, high, faint=_verdict(node) == 0)


def _verdict(node: Node) -> int:
    """1: better, -1: worse, 0: not established."""
    if not node["excludes_zero"].value:
        return 0
    return 1 if node["difference"].number() > 0 else -1


def _sentences(found: list[Headline], run: RunData) -> list[Block]:
    """Task by task, what the headline differences establish."""
    blocks: list[Block] = []
    for task in run.results:
        items = [_words(node, headline) for headline in found if headline.task == task for node in headline.differences]
        if items:
            blocks += [Heading(TASK_TITLES[task]), Bullets(items)]
    return [Folded("The same in words", blocks)] if blocks else []


def _words(node: Node, headline: Headline) -> Markup:
    verb = {1: "beats", -1: "falls behind", 0: "against"}[_verdict(node)]
    ending = "" if _verdict(node) else ": no established difference"
    return Markup("<strong>{}</strong> {} <strong>{}</strong> on {}{} ({} points {})").format(
        node["aligner"].text(),
        verb,
        node["versus"].text(),
        headline.name,
        ending,
        number(node["difference"], "points"),
        interval(node.get("ci"), "points"),
    )
