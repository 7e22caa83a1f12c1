"""`permafrost compare A B`: the figures of two runs, commits or aligners side by side."""

import argparse

from pipeline.commands.adder import Adder
from pipeline.commands.console import Console

_EXAMPLES = """\
  permafrost compare default freeze-align          two aligners of this run
  permafrost compare HEAD~1 .                      the last commit and the files here
  permafrost compare ../other-clone . --all        two projects, every figure
  permafrost compare exp-a1b2c . --task retrieval  an experiment of DVC"""
_SHOWN = 40


def add(commands: Adder) -> None:
    """Add the subcommand."""
    command = commands("compare", run, "put the figures of two runs, commits or aligners side by side", _EXAMPLES)
    command.add_argument("a", metavar="A", help="an aligner of this run, the root of a project, or a revision of Git")
    command.add_argument("b", metavar="B")
    command.add_argument("--task", help="only this task")
    command.add_argument("--all", action="store_true", help="every figure, not only those that the report leads with")


def run(given: argparse.Namespace, console: Console) -> int:
    """A line for each figure that both have, with its difference."""
    from pipeline.reporting.side_by_side import side_by_side

    lines = side_by_side(given.a, given.b, task=given.task, everything=given.all)
    console.answer([line.as_json() for line in lines])
    shown = lines if given.all else lines[:_SHOWN]
    console.table(
        ["task", "data set", "figure", "aligner", "chance", given.a, given.b, "difference", ""],
        [(line.task, line.dataset, line.measure, line.aligner, f"{line.chance:.4f}", f"{line.a:.4f}", f"{line.b:.4f}",
          f"{line.b - line.a:+.4f}", line.verdict) for line in shown],
    )  # fmt: skip
    if len(shown) < len(lines):
        console.line(f"{len(lines) - len(shown)} more with --all or --json")
    if any(line.verdict for line in shown):
        console.line("*: established within this run, by the paired interval of the difference")
    return 0
