"""`permafrost collect`: candidates of concepts from stores of any size."""

import argparse
from pathlib import Path

from pipeline.commands.adder import Adder
from pipeline.commands.console import Console
from pipeline.errors import DataError

_EXAMPLES = """\
  permafrost collect stores/laion-*/ --prototypes classes.npy --names classes.txt --quota 2000 --out found/

Prototypes are rows of a .npy file, such as means of a few pictures of each class by CLIP; stores hold what is compared
with them, such as CLIP's features of captions (`permafrost import-npy`). The search is exact and takes the memory of
the candidates, whatever the size of the stores. found/found.parquet has a row for every candidate, with its concept,
score, rank and whether it is kept."""


def add(commands: Adder) -> None:
    """Add the subcommand."""
    command = commands("collect", run, "find candidates of concepts in feature stores, each up to a quota", _EXAMPLES)
    command.add_argument("stores", nargs="+", type=Path, help="folders of feature stores, of one width")
    command.add_argument("--prototypes", type=Path, required=True, help=".npy, a row for each concept")
    command.add_argument("--names", type=Path, help="a name a line; numbers if left out")
    command.add_argument("--quota", type=int, default=2000, help="rows that a concept keeps at most (2000)")
    command.add_argument("--candidates", type=int, help="that a concept retrieves (four times the quota)")
    command.add_argument("--out", type=Path, required=True, help="folder for found.parquet and summary.json")
    command.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps")


def run(given: argparse.Namespace, console: Console) -> int:
    """Search, assign, write, and say how many were found."""
    from pipeline.curation.concepts import read_names
    from pipeline.curation.of_stores import choose_of_stores
    from pipeline.vector_files import read_vectors

    if given.quota < 1 or (given.candidates is not None and given.candidates < 1):
        raise DataError("--quota and --candidates should be 1 or more.")
    prototypes = read_vectors(given.prototypes)
    names = [str(number) for number in range(len(prototypes))] if given.names is None else read_names(given.names)
    done = choose_of_stores(
        given.stores, prototypes.astype("float64"), names, given.quota, given.out, candidates=given.candidates,
        device=given.device, progress=None if given.json else "rows",
    )  # fmt: skip
    console.answer({"folder": given.out, **done})
    console.line(
        f"{given.out}: {done['kept']} of {done['found']} candidates are kept, of {done['rows']} rows in "
        f"{done['stores']} stores; {done['full']} of {done['concepts']} concepts are full, {done['empty']} empty"
    )
    return 0
