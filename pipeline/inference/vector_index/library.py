"""FAISS, where it is installed: making an index, taking it apart into plain arrays, putting it together again.

FAISS's own files are neither written nor read, since its reader trusts what it reads. An index is a few arrays.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.errors import ModelError
from pipeline.inference.vector_index.plan import CENTROIDS, Plan

ITERATIONS = 10  # of k-means
POINTS_PER_CODE = 64  # that it sees for each centroid of a product quantiser


@dataclass(frozen=True)
class Arrays:
    """What an index holds.

    Attributes:
        centroids: (lists, K) float32, of the lists.
        books: float32; of ivf-sq8 least value and range of each number of a residual, (2, K); of ivf-pq the centroids
            of each part, (parts, 256, K / parts).
        sizes: (lists,) int64, vectors in each list.
        positions: (N,) int64, whose they are, list after list.
        codes: (N, code) uint8, in the same order.
    """

    centroids: np.ndarray
    books: np.ndarray
    sizes: np.ndarray
    positions: np.ndarray
    codes: np.ndarray


def require_faiss() -> Any:
    """The module.

    Raises:
        ModelError: it is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise ModelError(
            f"An index of lists needs FAISS ({error}). Install it with: pip install faiss-cpu. Without it, search is "
            "exact and reads all vectors: leave out the index."
        ) from error
    return faiss


def empty_index(plan: Plan, width: int, seed: int = 0) -> Any:
    """An untrained index of inner products."""
    faiss = require_faiss()
    quantizer = faiss.IndexFlatIP(width)
    if plan.kind == "ivf-sq8":
        bits = faiss.ScalarQuantizer.QT_8bit
        index = faiss.IndexIVFScalarQuantizer(quantizer, width, plan.lists, bits, faiss.METRIC_INNER_PRODUCT)
    else:
        index = faiss.IndexIVFPQ(quantizer, width, plan.lists, plan.code, 8, faiss.METRIC_INNER_PRODUCT)
        index.pq.cp.niter, index.pq.cp.seed = ITERATIONS, seed
        index.pq.cp.max_points_per_centroid = POINTS_PER_CODE
    index.cp.niter, index.cp.seed = ITERATIONS, seed
    index.cp.min_points_per_centroid = 1  # how many there are is our own choice, not to be warned about
    return index


def taken_apart(index: Any, plan: Plan, width: int) -> Arrays:
    """Copies of what a trained and filled index holds."""
    faiss = require_faiss()
    lists = index.invlists
    sizes = np.array([lists.list_size(number) for number in range(plan.lists)], dtype=np.int64)
    positions = np.empty(sizes.sum(), dtype=np.int64)
    codes = np.empty((sizes.sum(), plan.code), dtype=np.uint8)
    start = 0
    for number, size in enumerate(sizes.tolist()):
        if size:
            positions[start : start + size] = faiss.rev_swig_ptr(lists.get_ids(number), size)
            held = faiss.rev_swig_ptr(lists.get_codes(number), size * plan.code)
            codes[start : start + size] = held.reshape(size, plan.code)
        start += size
    books = index.sq.trained if plan.kind == "ivf-sq8" else index.pq.centroids
    return Arrays(
        index.quantizer.reconstruct_n(0, plan.lists),
        faiss.vector_to_array(books).reshape(books_shape(plan, width)),
        sizes,
        positions,
        codes,
    )


def put_together(arrays: Arrays, plan: Plan, width: int) -> Any:
    """The index that holds some arrays, whose shapes and positions have been checked."""
    faiss = require_faiss()
    index = empty_index(plan, width)
    index.quantizer.add(np.ascontiguousarray(arrays.centroids))
    faiss.copy_array_to_vector(
        np.ascontiguousarray(arrays.books).ravel(), index.sq.trained if plan.kind == "ivf-sq8" else index.pq.centroids
    )
    index.is_trained = True
    start = 0
    for number, size in enumerate(arrays.sizes.tolist()):
        if size:
            positions = np.ascontiguousarray(arrays.positions[start : start + size])
            codes = np.ascontiguousarray(arrays.codes[start : start + size])
            index.invlists.add_entries(number, size, faiss.swig_ptr(positions), faiss.swig_ptr(codes))
        start += size
    index.ntotal = start
    return index


def books_shape(plan: Plan, width: int) -> tuple[int, ...]:
    """Shape of `Arrays.books`."""
    return (2, width) if plan.kind == "ivf-sq8" else (plan.code, CENTROIDS, width // plan.code)
