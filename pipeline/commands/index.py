"""`permafrost index`: an index over vectors that are searched often."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.commands.adder import Adder
from pipeline.commands.console import Console
from pipeline.commands.use import lines_of
from pipeline.errors import DataError

if TYPE_CHECKING:
    import numpy as np

    from pipeline.inference.collection import Collection

_EXAMPLES = """\
  permafrost embed data/models/default data/features/pairs/vit/emoji --out vectors/     first, the vectors
  permafrost index vectors/ --model data/models/default       recall is measured on captions of the pictures
  permafrost index vectors/ --kind ivf-pq --memory 200        a smaller one, of 200 MB at most
  permafrost search data/models/default "a red kite" --in vectors/ --index

Up to 50,000 vectors need none: a scan of them takes milliseconds. Above, vectors lie in lists by the nearest of some
centroids, of which a search looks into a few, and the best candidates are compared exactly. What it finds is measured
against a scan of all vectors, on queries that had no part in choosing how many lists are searched."""


def add(commands: Adder) -> None:
    """Add the subcommand."""
    index = commands("index", run, "build an index over vectors, so that millions are searched at once", _EXAMPLES)
    index.add_argument("vectors", type=Path, help="what `permafrost embed` or clip-retrieval wrote, or a .npy file")
    index.add_argument(
        "--kind", help="flat, ivf-sq8 (a byte a number) or ivf-pq (less); by rows and memory if left out"
    )
    index.add_argument("--memory", type=float, metavar="MB", help="that it may take (half of what is free)")
    index.add_argument("--lists", type=int, help="that vectors are divided into (about twice the root of the rows)")
    index.add_argument("--recall", type=float, default=0.95, help="of the 10 nearest, to be reached (0.95)")
    index.add_argument("--queries", type=Path, metavar="FILE", help="a text a line, such as will be searched for")
    index.add_argument("--model", help="an aligner, to encode queries or else captions of the rows; without it, rows "
                       "of the vectors are the queries that recall is measured on")  # fmt: skip
    index.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps; of the aligner")
    index.add_argument("--seed", type=int, default=0)


def run(given: argparse.Namespace, console: Console) -> int:
    """Build, measure, write, and say what came of it."""
    from pipeline.inference.collection import Collection
    from pipeline.inference.vector_index import build_index, plan_index
    from pipeline.inference.vector_index.files import index_folder

    if given.queries is not None and given.model is None:
        raise DataError("--queries need --model, the aligner that encodes them.")
    if not 0 < given.recall <= 1:
        raise DataError(f"--recall must be above 0 and at most 1, found {given.recall}.")
    made = Collection.read(given.vectors)
    memory = None if given.memory is None else int(given.memory * 1e6)
    plan = plan_index(len(made), made.rows.width, kind=given.kind, memory=memory, lists=given.lists)
    queries, kind = _queries(made, given)
    built = build_index(made.rows, plan, queries, queries_are=kind, recall=given.recall, seed=given.seed)
    folder = index_folder(given.vectors.expanduser())
    built.index.save(folder)
    about = built.index.about
    assert about.recall is not None
    found = {f"recall@{about.recall.k}": about.recall.value, "queries": about.recall.queries, "of": about.recall.kind}
    facts = {"index": str(folder), "kind": about.kind, "rows": about.rows, "width": about.width, "lists": about.lists,
             "lists searched": about.probes, "bytes": built.bytes, "seconds": about.seconds, **found}  # fmt: skip
    console.answer({**facts, "recall by lists searched": about.recall.by_probes})
    for name, value in facts.items():
        console.line(f"{name:>15}  {value}")
    if about.recall.value < given.recall:
        console.line(console.styled(f"{about.recall.value} is less than {given.recall}: allow more memory", "yellow"))
    return 0


def _queries(made: "Collection", given: argparse.Namespace) -> "tuple[np.ndarray | None, str]":
    """Vectors to measure recall on, and what they are."""
    if given.model is None:
        return None, ""
    from pipeline.inference import Aligner
    from pipeline.inference.vector_index.build import QUERIES

    aligner = Aligner.from_pretrained(given.model, device=given.device)
    if aligner.embed_dim != made.rows.width:
        raise DataError(
            f"The vectors have {made.rows.width} numbers, those of {given.model} {aligner.embed_dim}: they are of "
            "another model."
        )
    if given.queries is not None:
        texts = [line for line in lines_of(given.queries) if line.strip()]
        kind = f"lines of {given.queries.name}"
    else:
        texts, kind = made.some_captions(QUERIES, given.seed), "captions of the rows"
    if len(texts) < 2:
        if given.queries is not None:
            raise DataError(f"{given.queries} has fewer than two lines to measure recall on.")
        return None, ""
    return aligner.encode_text(texts), kind
