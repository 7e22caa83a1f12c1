"""How a module of this package adds its subcommands."""

import argparse
from collections.abc import Callable
from typing import Protocol

from pipeline.commands.console import Console

Run = Callable[[argparse.Namespace, Console], int]


class Adder(Protocol):
    """Adds a subcommand, to which arguments are then added."""

    def __call__(self, name: str, run: Run, text: str, examples: str) -> argparse.ArgumentParser:
        """Add `name`, which calls `run`; `text` is its line of help, `examples` stand below its arguments."""
        ...
