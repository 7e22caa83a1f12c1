"""Zero-shot classification of held-out images."""

from collections.abc import Sequence

from pipeline.reporting.blocks import Card, Gallery, Line, Picture, Section
from pipeline.reporting.inputs import Node
from pipeline.reporting.run_data import RunData
from pipeline.reporting.sections.task import rank, score, task_section


def classification(run: RunData, task: str) -> Section:
    """Held-out concepts and categories, from prompts alone."""
    return task_section(run, task, galleries=_galleries)


def _galleries(examples: Sequence[Node], run: RunData) -> list[Gallery]:
    return [Gallery("Held-out images and their top-scoring classes", [_card(node, run) for node in examples])]


def _card(node: Node, run: RunData) -> Card:
    right = node["right"].text()
    lines = [
        Line(answer["class"].text(), "right" if answer["class"].text() == right else "wrong", score(answer))
        for answer in node["top"]
    ]
    picture = Picture(run.library.thumbnail(node["image"]), f"Image of the class {right}")
    return Card(right, f"{node['dataset'].text()}, by {node['label'].text()} · {rank(node)}", picture, lines=lines)
