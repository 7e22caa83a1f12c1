"""The command `permafrost`: each subcommand is one call into the library, its answer printed for people or as JSON."""

from pipeline.commands.parser import main

__all__ = ["main"]
