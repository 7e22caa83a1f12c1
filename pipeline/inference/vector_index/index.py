"""Searching an index, with the vectors themselves to put its candidates in order."""

from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import DataError
from pipeline.inference.scan import Nearest, exact_scores
from pipeline.inference.vector_index.files import About, read_about, read_arrays, require_current, write_index
from pipeline.inference.vector_index.library import Arrays, put_together, require_faiss
from pipeline.inference.vectors import VectorRows

FEW_ROWS = 20_000  # of as many that may be found, a scan is faster and exact
_LEAST_CANDIDATES = 32
_TOGETHER = 64 << 20  # bytes of candidates that are compared at a time


class VectorIndex:
    """An index over vectors, which it needs beside it.

    Attributes:
        about: its form, the vectors it is of, and its measured recall.
    """

    def __init__(self, about: About, arrays: Arrays | None, vectors: VectorRows) -> None:
        self.about, self._arrays, self._vectors = about, arrays, vectors
        self._index: Any = None if arrays is None else put_together(arrays, about.plan, about.width)

    @classmethod
    def open(cls, folder: Path, vectors: VectorRows) -> "VectorIndex":
        """The index in a folder, of these vectors.

        Raises:
            DataError: there is none, it is damaged, or it is of other vectors.
            ModelError: FAISS is not installed.
        """
        about = read_about(folder)
        if about.kind != "flat":
            require_faiss()
        require_current(about, vectors, folder)
        index = cls(about, None if about.kind == "flat" else read_arrays(folder, about), vectors)
        index._arrays = None  # FAISS has its own copy
        return index

    def save(self, folder: Path) -> None:
        """Write an index that was just built, in place of the one that is there."""
        if self._arrays is None and self.about.kind != "flat":
            raise DataError("This index was opened from a folder; copy that.")
        write_index(self.about, self._arrays, folder)

    def search(
        self, queries: np.ndarray, k: int, allowed: np.ndarray | None = None, probes: int | None = None
    ) -> Nearest:
        """The `k` rows nearest to each query, as far as the index finds them, with their exact cosines.

        Where few rows may be found, or the lists that are searched hold fewer than `k` of them, search is exact.

        Args:
            queries: (Q, K) float32 unit vectors.
            allowed: (N,) bool, which rows may be found; all where None.
            probes: lists that are searched for a query, the default being `about.probes`. More take longer and find
                more. They are raised where only some rows may be found, so that as many are compared.
        """
        vectors = self._vectors
        count = len(vectors) if allowed is None else int(allowed.sum())
        if self._index is None or count <= (FEW_ROWS if allowed is not None else 0) or not len(queries):
            return vectors.nearest(queries, k, allowed)
        wanted = min(k, count)
        candidates = min(max(wanted * self.about.rescored, _LEAST_CANDIDATES), count)
        probes = self.about.probes if probes is None else probes
        probes = min(max(1, -(-probes * len(vectors) // count)), self.about.lists)
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        out = Nearest(np.empty((len(queries), wanted), np.int64), np.empty((len(queries), wanted), np.float32))
        step = max(1, _TOGETHER // (candidates * vectors.width * 8))
        for start in range(0, len(queries), step):
            part = slice(start, start + step)
            self._search(queries[part], candidates, allowed, probes, Nearest(out.rows[part], out.scores[part]))
        return out

    def _search(
        self, queries: np.ndarray, candidates: int, allowed: np.ndarray | None, probes: int, out: Nearest
    ) -> None:
        faiss = require_faiss()
        options: dict[str, Any] = {"nprobe": probes}
        if allowed is not None:
            bits = np.packbits(allowed, bitorder="little")
            options["sel"] = faiss.IDSelectorBitmap(bits)
        _, found = self._index.search(queries, candidates, params=faiss.SearchParametersIVF(**options))
        wanted = out.rows.shape[1]
        owner, place = np.nonzero(found >= 0)
        rows = found[owner, place]
        scores = exact_scores(self._vectors.take(rows), queries[owner], cosine=True)
        order = np.lexsort((rows, -scores, owner))
        counts = np.bincount(owner, minlength=len(queries))
        starts = np.cumsum(counts) - counts
        enough = counts >= wanted
        kept = order[starts[enough][:, None] + np.arange(wanted)]
        out.rows[enough], out.scores[enough] = rows[kept], scores[kept]
        if not enough.all():
            exact = self._vectors.nearest(queries[~enough], wanted, allowed)
            out.rows[~enough], out.scores[~enough] = exact.rows, exact.scores
