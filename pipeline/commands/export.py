"""`permafrost export`: test splits for CLIP_benchmark."""

import argparse

from pipeline.commands.adder import Adder
from pipeline.commands.console import Console

_EXAMPLES = """\
  permafrost export clip-benchmark classification out/stamps --dataset stamps --label category --prompt-set ensemble
  permafrost export clip-benchmark retrieval out/emoji --dataset emoji --repeat 0"""


def add(commands: Adder) -> None:
    """Add the subcommand."""
    command = commands("export", run, "write what other programs read: test splits for CLIP_benchmark", _EXAMPLES)
    command.add_argument("format", choices=("clip-benchmark",), help="what to write")
    command.add_argument("rest", nargs=argparse.REMAINDER, metavar="...", help="its arguments; --help lists them")


def run(given: argparse.Namespace, console: Console) -> int:
    """Hand over to the exporter."""
    from pipeline.interop.export import main

    code = main(given.rest)
    console.answer({"written": code == 0})
    return code
