"""Subcommands, what they take, and the exit codes."""

import argparse
import logging
import sys
from collections.abc import Sequence

from pipeline import __version__
from pipeline.commands import collect, compare, doctor, explore, export, import_npy, index, init, inspect, use, verify
from pipeline.commands.adder import Run
from pipeline.commands.console import Console
from pipeline.failures import exit_code

COMMANDS = (init, doctor, use, index, inspect, verify, import_npy, collect, export, compare, explore)
_ABOUT = """Frozen encoders, encoded once, aligned many times.

a first hour with pictures of your own, in a clone:
  permafrost init "my pictures"                         look at them, write params.yaml
  dvc repro train@mine                                  encode once, fit a head
  permafrost search data/models/mine "a red kite"       the pictures nearest to words

exit codes: 0 all is well; 1 something was found wrong, said on the error stream; 2 the command line is wrong;
130 interrupted. Every command takes --json; `permafrost COMMAND --help` has examples."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; returns the exit code.

    Args:
        arguments: those of the process if None.
    """
    given = parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    console = Console(json=given.json)
    return exit_code("permafrost", lambda: int(given.run(given, console)))


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    root = argparse.ArgumentParser(
        prog="permafrost", description=_ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    root.add_argument("--version", action="version", version=f"permafrost {__version__}")
    commands = root.add_subparsers(required=True, metavar="COMMAND", title="commands")
    for module in COMMANDS:
        module.add(_Adder(commands))
    return root


class _Adder:
    """Adds subcommands that look alike: a line of help, examples below, --json."""

    def __init__(self, commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
        self._commands = commands

    def __call__(self, name: str, run: Run, text: str, examples: str) -> argparse.ArgumentParser:
        command = self._commands.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            epilog=f"examples:\n{examples}\n",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_argument("--json", action="store_true", help="print the answer as one JSON value")
        command.set_defaults(run=run)
        return command
