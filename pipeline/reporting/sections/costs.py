"""What the run cost, and the paper's ratios, computed from their inputs."""

from markupsafe import Markup

from pipeline.reporting.blocks import Block, Bullets, Content, Section, Table, Text, missing
from pipeline.reporting.inputs import Node
from pipeline.reporting.names import protocol
from pipeline.reporting.numbers import number
from pipeline.reporting.run_data import RunData

_MACHINE = {"cpus": "cores", "cpu": "processor", "gpus": "GPUs", "python": "Python"}


def costs(run: RunData) -> Section:
    """Parameters and samples per aligner; ratios with their inputs."""
    result = run.costs
    if result is None:
        return _section([missing("The costs have not been counted.", "dvc repro accounting")])
    blocks: list[Block] = []
    if result.nodes("aligners"):
        blocks.append(_aligners(result))
    if result.nodes("ratios"):
        blocks.append(_ratios(result))
    if notes := result.texts("notes"):
        blocks += [Text("On the published figures:"), Bullets(notes)]
    if left := result.texts("left_out"):
        blocks += [Text("Left out:"), Bullets(left)]
    blocks.append(Text(protocol(result)))
    if machine := result.get("machine"):
        blocks.append(Text(Markup("<strong>Machine.</strong> {}").format(_machine(machine))))
    return _section(blocks)


def _section(blocks: list[Block]) -> Section:
    return Section("costs", "Parameters, samples, seconds", "Costs", blocks)


def _aligners(result: Node) -> Table:
    rows: list[list[Content]] = [
        [
            entry["aligner"].text(),
            number(entry.get("trainable"), "integer"),
            number(entry.get("kept"), "integer"),
            number(entry.get("total"), "integer"),
            number(entry.get("trainable_share"), "percent1"),
            number(entry.get("samples_seen"), "integer"),
            number(entry.get("train_seconds"), "seconds"),
        ]
        for entry in [*result.nodes("aligners"), *result.nodes("ensembles")]
    ]
    caption = (
        "Scalars of one head and both frozen encoders. Fitted: trained, or computed in closed form. Kept: training "
        "rows inside the head (anchors of a kernel) and random features. Samples and seconds are sums over repeats. An "
        "ensemble has what its members have, an encoder of several of them once; nothing more is fitted."
    )
    columns = ["aligner", "fitted", "kept", "in all", "fitted, %", "samples seen", "fitting time"]
    return Table(caption, result.file.as_posix(), columns, rows)


def _ratios(result: Node) -> Table:
    rows: list[list[Content]] = []
    for entry in result.nodes("ratios"):
        inputs = [
            Markup('<span class="pair">{} {}</span>').format(
                name.replace("_", " "), number(entry["inputs"].get(name), "compact")
            )
            for name, _ in entry["inputs"].entries()
        ]
        name = Markup("{}<br><small>{}</small>").format(_title(entry["name"].text()), entry.optional("formula"))
        printed = entry.get("poster")
        rows.append(
            [
                name,
                Markup(" ").join(inputs),
                number(entry.get("value"), "compact"),
                "–" if printed is None else str(printed.value),
                entry.optional("note"),
            ]
        )
    caption = "Ratios, computed from the inputs beside them. Printed: the figure on the paper's poster."
    return Table(caption, result.file.as_posix(), ["ratio", "inputs", "value", "printed", "note"], rows)


def _title(name: str) -> str:
    return name.replace("_", " ").replace(".", ": ", 1)


def _machine(machine: Node) -> str:
    parts = []
    for key, node in machine.entries():
        value = node.value
        if isinstance(value, list):
            value = ", ".join(str(entry) for entry in value) or "none"
        if key.endswith("_bytes") and isinstance(value, int):
            key, value = key.removesuffix("_bytes"), f"{value / 1e9:.0f} GB"
        if value is not None:
            parts.append(f"{_MACHINE.get(key, key.replace('_', ' '))}: {value}")
    return "; ".join(parts) + "."
