"""Retrieval through FAISS's lists for pools that are asked often, with the recall that it has on this pool."""

from dataclasses import dataclass

import numpy as np

from pipeline.curation.retrieval import Candidates
from pipeline.curation.streamed import retrieve_streamed
from pipeline.curation.vectors import PoolVectors
from pipeline.inference.vector_index import build_index, plan_index
from pipeline.inference.vectors import VectorRows

_MEASURED = 64  # concepts whose candidates are compared with exact ones


@dataclass(frozen=True)
class Approximate:
    """Candidates by an index, and the share of the exact ones that are among them.

    Attributes:
        recall: mean over `measured` concepts, evenly spaced.
        kind, lists, probes: of the index.
    """

    candidates: Candidates
    recall: float
    measured: int
    kind: str
    lists: int
    probes: int


def retrieve_by_index(
    pool: PoolVectors, prototypes: np.ndarray, k: int, *, recall: float = 0.95, seed: int = 0
) -> Approximate:
    """As `retrieve_streamed`, looking into some lists of vectors alone; scores are exact.

    Args:
        recall: of the 10 nearest, by which the number of lists is chosen. What is told is that of all `k`.

    Raises:
        ModelError: FAISS is not installed.
        StoreError: a store cannot be mapped.
    """
    parts, places = pool.mapped()
    vectors, allowed = VectorRows(parts), None
    if places is not None:
        allowed = np.zeros(len(vectors), bool)
        allowed[places] = True
    plan = plan_index(len(vectors), vectors.width, kind="ivf-sq8")
    queries = np.ascontiguousarray(prototypes, np.float32)
    index = build_index(vectors, plan, queries if len(queries) > 1 else None, recall=recall, seed=seed).index
    found = index.search(queries, k, allowed)
    rows = found.rows
    if places is not None:  # from rows of the stores to positions in the pool
        order = np.argsort(places, kind="stable")
        rows = order[np.searchsorted(places[order], rows)]
    some = np.unique(np.linspace(0, len(queries) - 1, min(_MEASURED, len(queries))).astype(int))
    exact = retrieve_streamed(pool, queries[some], k)
    shared = [len(np.intersect1d(rows[one], right)) for one, right in zip(some, exact.rows, strict=True)]
    share = float(np.sum(shared) / max(1, exact.rows.size))
    return Approximate(
        Candidates(rows, found.scores), share, len(some), index.about.kind, index.about.lists, index.about.probes
    )
