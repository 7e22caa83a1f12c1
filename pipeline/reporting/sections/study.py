"""What the sections of comparisons and studies share: several of them by name, and how each ends."""

from collections.abc import Callable, Iterable, Mapping

from pipeline.reporting.blocks import Block, Bullets, Folded, Heading, Text
from pipeline.reporting.inputs import Node
from pipeline.reporting.names import counted, protocol


def of_each(
    names: Iterable[str],
    results: Mapping[str, Node],
    blocks_of: Callable[[Node], list[Block]],
    absent: Callable[[str], Block],
) -> list[Block]:
    """The blocks of each result, under its name if there are several; `absent` stands in for one that was not made."""
    names = list(names)
    blocks: list[Block] = []
    for name in names:
        if len(names) > 1:
            blocks.append(Heading(name))
        blocks += blocks_of(results[name]) if name in results else [absent(name)]
    return blocks


def ending(result: Node, noun: str = "statement") -> list[Block]:
    """Protocol, what was left out, and the sentences, folded; `noun` is what each of them states."""
    blocks: list[Block] = [Text(protocol(result))]
    if left := result.texts("left_out"):
        blocks += [Text("Left out:"), Bullets(left)]
    if sentences := result.texts("sentences"):
        blocks.append(Folded(f"In words: {counted(len(sentences), noun)}", [Bullets(sentences)]))
    return blocks
