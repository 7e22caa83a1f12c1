"""Retrieval and classification: their tables and their galleries."""

from pipeline.reporting.blocks import Block, Card, Gallery, Line, Mark, Picture, Section, Text, missing
from pipeline.reporting.inputs import Node
from pipeline.reporting.names import TASK_TITLES
from pipeline.reporting.numbers import FORMATS
from pipeline.reporting.results import task_blocks
from pipeline.reporting.run_data import RunData


def not_evaluated(task: str) -> Text:
    """Says that a task has no result here."""
    return missing(f"The task {task} has not been evaluated in this run.", f"dvc repro evaluate@{task}")


def mark(right: Node) -> Mark:
    """From a JSON boolean."""
    return "right" if right.value else "wrong"


def no_examples(run: RunData, task: str) -> Text:
    """Says that there is nothing to show."""
    return missing(f"There are no examples of “{run.cast.showcase}” for this task.", f"dvc repro evaluate@{task}")


def retrieval(run: RunData) -> Section:
    """Both directions on held-out concepts."""
    blocks: list[Block] = []
    if result := run.results.get("retrieval"):
        blocks += task_blocks(result, run.cast)
    else:
        blocks.append(not_evaluated("retrieval"))
    examples = run.examples["retrieval"].nodes("examples") if "retrieval" in run.examples else []
    to_images = [_to_images(node, run) for node in examples if node["kind"].text() == "t2i"]
    to_texts = [_to_texts(node, run) for node in examples if node["kind"].text() == "i2t"]
    if to_images:
        blocks.append(Gallery("A text asks, pictures answer", to_images, wide=True))
    if to_texts:
        blocks.append(Gallery("A picture asks, texts answer", to_texts))
    if result and not examples:
        blocks.append(no_examples(run, "retrieval"))
    return Section("retrieval", TASK_TITLES["retrieval"], "Retrieval", blocks)


def classification(run: RunData) -> Section:
    """Held-out concepts and categories from prompts alone."""
    blocks: list[Block] = []
    if result := run.results.get("classification"):
        blocks += task_blocks(result, run.cast)
    else:
        blocks.append(not_evaluated("classification"))
    examples = run.examples["classification"].nodes("examples") if "classification" in run.examples else []
    if examples:
        blocks.append(
            Gallery("Held-out pictures and the classes they are nearest to", [_classified(n, run) for n in examples])
        )
    elif result:
        blocks.append(no_examples(run, "classification"))
    return Section("classification", TASK_TITLES["classification"], "Classification", blocks)


def _to_images(node: Node, run: RunData) -> Card:
    dataset = node["dataset"].text()
    query = run.library.string("pairs", dataset, node["query"]["text_id"])
    pictures = [
        Picture(
            run.library.thumbnail(found["image"]),
            f"Picture at place {place} for “{query}”, {mark(found['right'])}",
            _score(found),
            mark(found["right"]),
        )
        for place, found in enumerate(node["results"], start=1)
    ]
    return Card(f"“{query}”", f"{dataset} · {_rank(node)}", pictures=pictures)


def _to_texts(node: Node, run: RunData) -> Card:
    dataset = node["dataset"].text()
    lines = [
        Line(run.library.string("pairs", dataset, found["text_id"]), mark(found["right"]), _score(found))
        for found in node["results"]
    ]
    picture = Picture(run.library.thumbnail(node["query"]["image"]), f"Query picture of {dataset}")
    return Card("", f"{dataset} · {_rank(node)}", picture, lines=lines)


def _classified(node: Node, run: RunData) -> Card:
    right = node["right"].text()
    lines = [
        Line(found["class"].text(), "right" if found["class"].text() == right else "wrong", _score(found))
        for found in node["top"]
    ]
    picture = Picture(run.library.thumbnail(node["image"]), f"Picture of the class {right}")
    return Card(right, f"{node['dataset'].text()}, by {node['label'].text()} · {_rank(node)}", picture, lines=lines)


def _rank(node: Node) -> str:
    return f"right one at rank {node['rank'].number():.0f}"


def _score(node: Node) -> str:
    return FORMATS["fixed2"](node["score"].number())
