"""The section of a task of evaluation: what all tasks show, and where a task adds charts and examples."""

from collections.abc import Callable, Sequence
from functools import partial

from pipeline.config import TASKS
from pipeline.reporting.blocks import Block, Gallery, Mark, Section, Text, missing
from pipeline.reporting.inputs import Node
from pipeline.reporting.leads import leading_first
from pipeline.reporting.numbers import FORMATS
from pipeline.reporting.results import task_blocks
from pipeline.reporting.run_data import RunData

Charts = Callable[[Sequence[Node], RunData], Sequence[Block]]
Galleries = Callable[[Sequence[Node], RunData], Sequence[Gallery]]


def task_section(
    run: RunData, task: str, *, intro: str = "", charts: Charts | None = None, galleries: Galleries | None = None
) -> Section:
    """The section of `task`; without further arguments, one without charts and examples.

    Args:
        intro: a note above the result.
        charts: from the rows of the result, shown above their table.
        galleries: from the examples.
    """
    blocks: list[Block] = [Text(intro, "note")] if intro else []
    result = run.results.get(task)
    if result is None:
        blocks.append(missing(f"The task {task} has not been evaluated.", f"dvc repro evaluate@{task}"))
    else:
        rows = result.nodes("rows")
        if charts is not None and rows:
            blocks += charts(rows, run)
        blocks += task_blocks(result, run.style, partial(leading_first, task))
        if galleries is not None and rows and run.style.showcase is not None:
            blocks += _examples(run, task, galleries)
    return Section(task.replace("_", "-"), TASKS[task].title, TASKS[task].short, blocks)


def mark(right: Node) -> Mark:
    """From a JSON boolean."""
    return "right" if right.value else "wrong"


def rank(node: Node) -> str:
    """The rank of the correct answer of an example."""
    return f"correct answer at rank {node['rank'].number():.0f}"


def score(node: Node) -> str:
    """The score of an answer."""
    return FORMATS["fixed2"](node["score"].number())


def _examples(run: RunData, task: str, galleries: Galleries) -> Sequence[Block]:
    if task not in run.examples:
        return [missing(f"The examples of the task {task} are missing.", f"dvc repro evaluate@{task}")]
    examples = run.examples[task].nodes("examples")
    if not examples:
        return [Text(f"There are no examples of “{run.style.showcase}” for this task.")]
    return [gallery for gallery in galleries(examples, run) if gallery.cards]
