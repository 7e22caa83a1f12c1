"""What the sections of comparisons and toy studies share: several of them, by name."""

from collections.abc import Callable, Iterable, Mapping

from pipeline.reporting.blocks import Block, Heading
from pipeline.reporting.inputs import Node


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
