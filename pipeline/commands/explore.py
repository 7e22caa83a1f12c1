"""`permafrost explore`: the page over aligners and stores."""

import argparse
from pathlib import Path

from pipeline.commands.adder import Adder
from pipeline.commands.console import Console

_EXAMPLES = """\
  permafrost explore --open                     the project here, in a browser; nobody else can reach it
  permafrost explore --project ../other-clone --port 0
  permafrost explore --map pacmap               neighbours stay neighbours on the map; pip install pacmap"""


def add(commands: Adder) -> None:
    """Add the subcommand."""
    command = commands("explore", run, "serve a page on this machine over a project's aligners and stores", _EXAMPLES)
    command.add_argument("--project", type=Path, default=Path(), help="its root; the working directory if left out")
    command.add_argument("--port", type=int, default=8421, help="0 takes a free one (8421, or else a free one)")
    command.add_argument("--map", choices=("pca", "pacmap"), default="pca", help="how the map is laid out (pca)")
    command.add_argument("--open", action="store_true", help="open it in a browser")


def run(given: argparse.Namespace, console: Console) -> int:  # noqa: ARG001
    """As `python -m pipeline.explorer`."""
    from pipeline.explorer.__main__ import main

    opened = ["--open"] if given.open else []
    return main(["--project", str(given.project), "--port", str(given.port), "--map", given.map, *opened])
