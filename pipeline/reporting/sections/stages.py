"""The DAG with its timings."""

from collections.abc import Mapping
from typing import Any

from pipeline.reporting.blocks import Block, Content, Figure, Folded, Section, Table, missing
from pipeline.reporting.graph import Stage, draw, edges
from pipeline.reporting.inputs import Node
from pipeline.reporting.numbers import FORMATS, number
from pipeline.reporting.run_data import RunData


def stages(run: RunData) -> Section:
    """The stages of dvc.yaml as a graph, and how long each took."""
    blocks: list[Block] = []
    if not run.stages:
        blocks.append(missing("There is no dvc.yaml here.", "run the report from the root of the project"))
    else:
        timed = _by_group(run.costs)
        sums = {group: sum(seconds) for group, seconds in timed.items()}
        longest = max(sums.values(), default=0.0) or 1.0
        items = {name: _items(body, run.params) for name, body in run.stages.items()}
        nodes = [
            Stage(name, items[name], _note(timed.get(name), items[name], run.costs), sums.get(name, 0.0) / longest)
            for name in run.stages
        ]
        caption = (
            "Stages from top to bottom, each with the seconds of its last real run on this machine, summed over its "
            "items. Links that follow from others are left out. A stage that DVC restored from its cache has no time."
        )
        blocks.append(Figure([draw(nodes, edges(run.stages))], caption))
    if run.costs is None:
        blocks.append(missing("There are no timings.", "dvc repro accounting"))
    else:
        blocks.append(Folded("Every stage: seconds, memory, bytes", [_table(run.costs)]))
    return Section("stages", "The pipeline and its timings", "Pipeline", blocks)


def _items(body: Mapping[str, Any], params: Mapping[str, Any]) -> int:
    """How many stages a foreach group stands for; `${a.b}` is looked up in params.yaml."""
    over = body.get("foreach")
    if over is None:
        return 1
    if isinstance(over, str):
        found: Any = params
        for part in over.removeprefix("${").removesuffix("}").split("."):
            found = found.get(part, ()) if isinstance(found, Mapping) else ()
        return len(found)
    return len(over)


def _by_group(costs: Node | None) -> dict[str, list[float]]:
    """Seconds of the items of each group that were run here."""
    found: dict[str, list[float]] = {}
    for entry in costs.nodes("stages") if costs else []:
        seconds = entry.get("seconds")
        group = entry.optional("group") or entry["stage"].text().partition("@")[0]
        if seconds is not None:
            found.setdefault(group, []).append(seconds.number())
    return found


def _note(seconds: list[float] | None, items: int, costs: Node | None) -> str:
    if not seconds:
        return "" if costs is None else "not timed here"
    total = FORMATS["seconds"](sum(seconds))
    return total if len(seconds) >= items else f"{total}, {len(seconds)} of {items} run"


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
    caption = "Seconds and peak memory of the last real run on this machine; a dash where the stage was restored."
    columns = ["stage", "seconds", "peak memory", "output", "files"]
    return Table(caption, costs.file.as_posix(), columns, rows)
