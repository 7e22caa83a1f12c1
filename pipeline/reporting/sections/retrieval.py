"""Retrieval between images and captions."""

from collections.abc import Sequence

from pipeline.reporting.blocks import Card, Gallery, Line, Picture, Section
from pipeline.reporting.inputs import Node
from pipeline.reporting.run_data import RunData
from pipeline.reporting.sections.task import mark, rank, score, task_section


def retrieval(run: RunData, task: str) -> Section:
    """Both directions on held-out concepts."""
    return task_section(run, task, galleries=_galleries)


def _galleries(examples: Sequence[Node], run: RunData) -> list[Gallery]:
    to_images = [_to_images(node, run) for node in examples if node["kind"].text() == "t2i"]
    to_texts = [_to_texts(node, run) for node in examples if node["kind"].text() == "i2t"]
    return [
        Gallery("Text queries and the images they retrieve", to_images, wide=True),
        Gallery("Image queries and the captions they retrieve", to_texts),
    ]


def _to_images(node: Node, run: RunData) -> Card:
    dataset = node["dataset"].text()
    query = run.library.string("pairs", dataset, node["query"]["text_id"])
    pictures = [
        Picture(
            run.library.thumbnail(answer["image"]),
            f"Image at rank {place} for “{query}”, {mark(answer['right'])}",
            score(answer),
            mark(answer["right"]),
        )
        for place, answer in enumerate(node["results"], start=1)
    ]
    return Card(f"“{query}”", f"{dataset} · {rank(node)}", pictures=pictures)


def _to_texts(node: Node, run: RunData) -> Card:
    dataset = node["dataset"].text()
    lines = [
        Line(run.library.string("pairs", dataset, answer["text_id"]), mark(answer["right"]), score(answer))
        for answer in node["results"]
    ]
    picture = Picture(run.library.thumbnail(node["query"]["image"]), f"Query image of {dataset}")
    return Card("", f"{dataset} · {rank(node)}", picture, lines=lines)
