"""Building an index, choosing how many of its lists are searched, and measuring what it then finds."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.errors import DataError
from pipeline.inference.scan import Nearest
from pipeline.inference.vector_index.files import About, Recall, source_files
from pipeline.inference.vector_index.index import VectorIndex
from pipeline.inference.vector_index.library import POINTS_PER_CODE, Arrays, empty_index, require_faiss, taken_apart
from pipeline.inference.vector_index.plan import CENTROIDS, Plan
from pipeline.inference.vectors import VectorRows
from pipeline.progress import tqdm

RESCORED: dict[str, int] = {"flat": 1, "ivf-sq8": 4, "ivf-pq": 10}  # what is rounded more needs more candidates
QUERIES = 400
_POINTS_PER_LIST = 40  # that k-means sees of each list
_ADDED = 32768  # rows at a time


@dataclass(frozen=True)
class Built:
    """An index that was just made.

    Attributes:
        index: to be searched and saved.
        bytes: its memory.
    """

    index: VectorIndex
    bytes: int


def build_index(
    vectors: VectorRows,
    plan: Plan,
    queries: np.ndarray | None = None,
    *,
    queries_are: str = "given queries",
    k: int = 10,
    recall: float = 0.95,
    seed: int = 0,
) -> Built:
    """Make an index over vectors and measure it against the exact scan.

    Half of the queries choose how many lists are searched, the fewest by which `recall` is reached; the other half
    tells what is found then.

    Args:
        queries: (Q, K) unit vectors such as will be asked, at least 2; else rows of the vectors, which are kept out of
            what the quantisers are fitted to, and out of their own answers.
        queries_are: what they are, to be told beside the figure.
        k: rows whose recall is measured.
        recall: what is to be reached.

    Raises:
        DataError: no rows, too few queries, or vectors that are not finite.
        ModelError: FAISS is not installed.
    """
    started = time.perf_counter()
    if not len(vectors):
        raise DataError("There are no vectors to index.")
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(vectors))
    own = None
    if queries is None:
        own = np.sort(order[: min(QUERIES, max(2, len(vectors) // 10), len(vectors) - 1)])
        order, queries, queries_are = order[len(own) :], _unit(vectors.take(own)), "rows of the collection"
    if len(queries) < 2:
        raise DataError(f"Recall is measured on at least 2 queries, found {len(queries)}.")
    arrays = None if plan.kind == "flat" else _fitted(vectors, plan, order, seed)
    about = About(
        format=1, kind=plan.kind, rows=len(vectors), width=vectors.width, dtype=vectors.dtype.name,
        digest=vectors.digest(), files=source_files(vectors), lists=plan.lists, code=plan.code,
        probes=min(1, plan.lists), rescored=RESCORED[plan.kind], seed=seed, seconds=0.0, recall=None, checksums={},
    )  # fmt: skip
    index = VectorIndex(about, arrays, vectors)
    measured, probes = _measured(index, vectors, queries, own, min(k, len(vectors)), recall)
    measured = measured.model_copy(update={"kind": queries_are})
    seconds = round(time.perf_counter() - started, 3)
    index.about = about.model_copy(update={"probes": probes, "recall": measured, "seconds": seconds})
    return Built(index, plan.bytes(len(vectors), vectors.width))


def _fitted(vectors: VectorRows, plan: Plan, order: np.ndarray, seed: int) -> Arrays:
    """The arrays of an index whose quantisers are fitted to the first rows of `order`."""
    require_faiss()
    points = _POINTS_PER_LIST * plan.lists
    points = max(points, POINTS_PER_CODE * CENTROIDS) if plan.kind == "ivf-pq" else points
    index = empty_index(plan, vectors.width, seed)
    sample = _unit(vectors.take(np.sort(order[:points])))
    if not np.isfinite(sample).all():
        raise DataError("Some vectors are not finite; encode them again.")
    index.train(sample)
    starts = range(0, len(vectors), _ADDED)
    for rows, block in tqdm(vectors.blocks(_ADDED), desc="index", unit="block", total=len(starts), leave=False):
        unit = _unit(block)
        if not np.isfinite(unit).all():
            bad = int(rows[~np.isfinite(unit).all(axis=1)][0])
            raise DataError(f"Vector {bad} is not finite; encode it again.")
        index.add(unit)
    return taken_apart(index, plan, vectors.width)


def _measured(
    index: VectorIndex, vectors: VectorRows, queries: np.ndarray, own: np.ndarray | None, k: int, wanted: float
) -> tuple[Recall, int]:
    """The recall of an index, and the lists to be searched."""
    asked = k if own is None else min(k + 1, len(vectors))

    def answers(search: Callable[[np.ndarray], Nearest], half: slice) -> np.ndarray:
        rows = search(queries[half]).rows
        return rows if own is None else _without(rows, own[half])

    choosing, telling = slice(0, len(queries) // 2), slice(len(queries) // 2, None)
    truth = {half.start: answers(lambda some: vectors.nearest(some, asked), half) for half in (choosing, telling)}

    def share(half: slice, probes: int) -> float:
        found = answers(lambda some: index.search(some, asked, probes=probes), half)
        return _recall(found, truth[half.start])

    by_probes: dict[str, float] = {}
    probes, lists = min(1, index.about.lists), index.about.lists
    while lists:
        by_probes[str(probes)] = round(share(choosing, probes), 4)
        if by_probes[str(probes)] >= wanted or probes == lists:
            break
        probes = min(2 * probes, lists)
    value = share(telling, probes) if lists else 1.0
    count = len(queries) - len(queries) // 2
    return Recall(k=k, queries=count, kind="", value=round(value, 4), by_probes=by_probes), probes


def _without(rows: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Answers (Q, n) without the row that asked, or else without the last: (Q, n - 1)."""
    mine = rows == own[:, None]
    mine[~mine.any(axis=1), -1] = True
    rest: np.ndarray = rows[~mine].reshape(len(rows), -1)
    return rest


def _recall(found: np.ndarray, truth: np.ndarray) -> float:
    if not truth.size:
        return 1.0
    return float(np.mean([np.isin(right, some).mean() for right, some in zip(truth, found, strict=True)]))


def _unit(rows: np.ndarray) -> np.ndarray:
    wide = rows.astype(np.float32)
    unit: np.ndarray = wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12)
    return unit
