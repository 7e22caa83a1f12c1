"""Which training images were chosen, concept by concept."""

from markupsafe import Markup

from pipeline.paths import curation_folder
from pipeline.reporting.blocks import (
    Block,
    Bullets,
    Card,
    Content,
    Figure,
    Folded,
    Gallery,
    Heading,
    Picture,
    Section,
    Table,
    Text,
    missing,
)
from pipeline.reporting.charts import bars
from pipeline.reporting.inputs import Node
from pipeline.reporting.names import protocol
from pipeline.reporting.numbers import number
from pipeline.reporting.run_data import RunData

_COLUMNS = (
    ("pool", "in the pool", "fixed1"),
    ("candidates", "candidates", "fixed1"),
    ("selected", "selected", "fixed1"),
    ("precision", "precision, %", "percent1"),
    ("mean_score", "mean cosine", "fixed3"),
)

_SHEETS = 40  # concepts whose contact sheets are shown


def curations_to_show(run: RunData) -> list[str]:
    """The curations of params.yaml; none where no curation leaves anything out."""
    names = list(run.settings.curations)
    methods = {name: coverage["method"].text() for name, coverage in run.coverage.items()}
    return names if any(methods.get(name, name) != "all" for name in names) else []


def curation(run: RunData) -> Section:
    """Coverage of every curation."""
    blocks: list[Block] = []
    for name in curations_to_show(run):
        if name not in run.coverage:
            blocks += [Heading(name), missing("This curation has not been made.", f"dvc repro {_stage(run, name)}")]
            continue
        coverage = run.coverage[name]
        method = coverage["method"].text()
        blocks.append(Heading(name if name == method else f"{name} ({method})"))
        concepts = coverage.nodes("concepts")
        if concepts:
            chart = _chart(name, concepts)
            caption = (
                "Train images per concept, mean over repeats: those that carry its label, and those selected for it."
            )
            blocks.append(Figure([chart], caption, (("control", "in the pool"), ("s0", "selected"))))
            blocks.append(Folded(f"All {len(concepts)} concepts", [_table(coverage, concepts)]))
        else:
            blocks.append(Text("This method does not use concepts."))
        if sentences := coverage.texts("sentences"):
            blocks.append(Bullets(sentences))
        blocks += _by_concepts(run, coverage)
        blocks.append(Text(protocol(coverage)))
    return Section("curation", "Curation: which training images", "Curation", blocks)


def _name(concept: Node) -> str:
    dataset = concept["dataset"].text()
    return f"{concept['concept'].text()} ({dataset})" if dataset else concept["concept"].text()


def _by_concepts(run: RunData, coverage: Node) -> list[Block]:
    """What `concept_curations` have beside: why samples were kept or dropped, the histogram and contact sheets."""
    blocks: list[Block] = []
    if (reasons := coverage.get("reasons")) is not None:
        rows: list[list[Content]] = [[reason, number(count, "fixed1")] for reason, count in reasons.entries()]
        caption = "What became of the samples of the pool, mean over repeats."
        blocks.append(Table(caption, coverage.file.as_posix(), ["reason", "samples"], rows))
    if histogram := coverage.nodes("histogram"):
        bins: list[list[Content]] = [
            [one["samples"].text(), *(number(one[when], "integer") for when in ("before", "after"))]
            for one in histogram
        ]
        title = "Concepts by their number of samples"
        blocks.append(Table(title, coverage.file.as_posix(), ["samples", "in the pool", "selected"], bins))
    if sheets := coverage.nodes("contact_sheet"):
        shown, rest = sheets[:_SHEETS], len(sheets) - _SHEETS
        cards = [Card(sheet["concept"].text(), pictures=_pictures(run, sheet)) for sheet in shown]
        more = f", the first {_SHEETS}" if rest > 0 else ""
        title = f"Contact sheets of {len(sheets)} concepts{more}: the best samples selected, repeat 0"
        blocks.append(Folded(title, [Gallery(title, cards)]))
    return blocks


def _pictures(run: RunData, sheet: Node) -> list[Picture]:
    shown = []
    for reference in sheet.nodes("pictures"):
        name = reference["image_id"].text()[:8]
        shown.append(Picture(run.library.thumbnail(reference), f"{sheet['concept'].text()}: {name}"))
    return shown


def _stage(run: RunData, name: str) -> str:
    """The stage that makes a curation."""
    made = (group.name for group in run.stages if tuple(curation_folder(name).parts) in group.outs)
    return f"{next(made, 'curate')}@{name}"


def _chart(name: str, concepts: list[Node]) -> Markup:
    rows = []
    for concept in concepts:
        pool, selected = concept.get("pool"), concept.get("selected")
        values = [("control", pool), ("s0", selected)]
        rows.append((_name(concept), [(colour, node.number()) for colour, node in values if node is not None]))
    title = "Train images per concept"
    return bars(rows, f"{name}: {title}, in the pool and selected", title, "images", width=620)


def _table(coverage: Node, concepts: list[Node]) -> Table:
    rows: list[list[Content]] = [
        [_name(concept), *(number(concept.get(key), form) for key, _, form in _COLUMNS)] for concept in concepts
    ]
    caption = "Means over repeats. Precision: share of the selected images that carry the label."
    return Table(caption, coverage.file.as_posix(), ["concept", *(title for _, title, _ in _COLUMNS)], rows)
