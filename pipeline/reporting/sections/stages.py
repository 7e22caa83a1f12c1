"""The DAG with its timings."""

from pipeline.paths import encode_stage
from pipeline.reporting.blocks import Block, Content, Figure, Folded, Section, Table, Text, missing
from pipeline.reporting.dag import StageGroup
from pipeline.reporting.graph import Box, draw, edges
from pipeline.reporting.inputs import Node
from pipeline.reporting.numbers import FORMATS, number
from pipeline.reporting.run_data import RunData


def stages(run: RunData) -> Section:
    """The stages of dvc.yaml as a graph, and how long each took."""
    blocks: list[Block] = []
    if not run.stages:
        blocks.append(Text("There is no dvc.yaml here: write the report from the root of the project.", "missing"))
    else:
        timed = _by_group(run)
        sums = {group: sum(seconds) for group, seconds in timed.items()}
        longest = max(sums.values(), default=0.0) or 1.0
        boxes = [
            Box(group.name, group.items, _note(timed.get(group.name), group, run), sums.get(group.name, 0.0) / longest)
            for group in run.stages
        ]
        caption = (
            "Stages from top to bottom, with the seconds of their last real run on this machine, summed over their "
            "items. Links that follow from others are left out. A stage that DVC restored from its cache has no time."
        )
        blocks.append(Figure([draw(boxes, edges(run.stages))], caption))
    if run.costs is None:
        blocks.append(missing("There are no timings.", "dvc repro accounting"))
    else:
        blocks.append(Folded("Every stage: seconds, memory, bytes", [_table(run.costs)]))
    return Section("stages", "The pipeline and its timings", "Pipeline", blocks)


def _by_group(run: RunData) -> dict[str, list[float]]:
    """Seconds of the items that ran here, by stage of dvc.yaml."""
    seconds: dict[str, list[float]] = {}
    for entry in run.costs.nodes("stages") if run.costs else []:
        taken = entry.get("seconds")
        if taken is not None:
            seconds.setdefault(_group(entry["stage"].text(), run), []).append(taken.number())
    return seconds


def _group(stage: str, run: RunData) -> str:
    """The stage of dvc.yaml; stores are encoded by one stage per group of stores."""
    name, _, item = stage.partition("@")
    store = run.settings.stores.get(item) if name == "encode" else None
    return encode_stage(store.group, item).partition("@")[0] if store else name


def _note(seconds: list[float] | None, group: StageGroup, run: RunData) -> str:
    if not seconds:
        return "" if run.costs is None else "not timed here"
    total = FORMATS["seconds"](sum(seconds))
    return total if len(seconds) >= group.items else f"{total}, {len(seconds)} of {group.items} run"


def _table(costs: Node) -> Table:
    rows: list[list[Content]] = [
        [
            entry["stage"].text(),
            number(entry.get("seconds"), "seconds"),
            number(entry.get("peak_bytes"), "bytes"),
            number(entry.get("output_bytes"), "bytes"),
            number(entry.get("files"), "integer"),
        ]
        for entry in costs.nodes("stages")
    ]
    caption = "Seconds and peak memory of the last real run on this machine; a dash for a restored stage."
    columns = ["stage", "seconds", "peak memory", "output", "files"]
    return Table(caption, costs.file.as_posix(), columns, rows)
