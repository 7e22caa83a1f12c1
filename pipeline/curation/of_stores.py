"""Candidates of concepts from any stores, without a project: captions of a crawl before a picture is loaded."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.curation.quotas import rare_first
from pipeline.curation.streamed import retrieve_streamed
from pipeline.curation.vectors import PoolVectors
from pipeline.datasets.tables import ROW_GROUP, write_pieces
from pipeline.errors import DataError
from pipeline.features.reader import FeatureStore
from pipeline.features.span import Rows
from pipeline.files import write_json

FOUND = pa.schema(
    [
        ("store", pa.string()),
        ("id", pa.string()),
        ("kept", pa.bool_()),
        ("concept", pa.string()),  # that took it or, of those it was a candidate of, the nearest
        ("score", pa.float32()),  # its cosine with that prototype
        ("rank", pa.int32()),  # its place among that concept's candidates, from 1
        ("reason", pa.string()),
    ]
)
_ARRAYS = ("cls", "pooled")


def choose_of_stores(
    stores: Sequence[Path],
    prototypes: np.ndarray,
    names: Sequence[str],
    quota: int,
    out: Path,
    *,
    candidates: int | None = None,
    device: str = "auto",
    progress: str | None = None,
) -> dict[str, Any]:
    """Write found.parquet, a row for every candidate, and summary.json into a folder; returns the latter.

    Each concept retrieves its candidates exactly; rare concepts take theirs first, up to `quota`, a row goes to one.

    Args:
        prototypes: (C, D) of any length, brought to unit length.
        names: of the concepts.
        candidates: of each concept; four times the quota where None.

    Raises:
        DataError: names and prototypes do not fit together, or the stores are of another width.
        StoreError: a store is missing or damaged.
    """
    if len(names) != len(prototypes):
        raise DataError(f"There should be a name for each prototype: {len(prototypes)} prototypes, {len(names)} names.")
    lengths = np.linalg.norm(prototypes, axis=1)
    if not np.isfinite(lengths).all() or not (lengths > 0).all():
        raise DataError(f"Prototype {int(np.argmin(np.isfinite(lengths) & (lengths > 0)))} has no direction.")
    opened = {str(folder): FeatureStore.open(folder) for folder in stores}
    arrays: dict[str, Rows] = {}
    rows: dict[str, np.ndarray] = {}
    for name, store in opened.items():
        array = next((one for one in _ARRAYS if one in store.names), None)
        if array is None:
            raise DataError(f"{name} holds {', '.join(store.names)}; candidates are taken of {' or '.join(_ARRAYS)}.")
        arrays[name] = store.array(array)
        if not store.valid.all():
            rows[name] = np.flatnonzero(store.valid)
    pool = PoolVectors(arrays, rows)
    if pool.width != prototypes.shape[1]:
        raise DataError(f"Prototypes have {prototypes.shape[1]} numbers, rows of the stores {pool.width}.")
    unit = (prototypes / lengths[:, None]).astype(np.float32)
    k = min(candidates or 4 * quota, len(pool))
    found = retrieve_streamed(pool, unit, k, device=device, progress=progress)
    taken = rare_first(found, np.full(len(names), quota, np.int64))
    owner = np.repeat(np.arange(len(names)), found.rows.shape[1])
    flat, scores = found.rows.reshape(-1), found.scores.reshape(-1)
    order = np.lexsort((owner, -scores, flat))
    best = order[np.unique(flat[order], return_index=True)[1]]  # of each row the nearest concept
    columns = {"position": flat[best], "concept": owner[best], "score": scores[best],
               "rank": best % max(1, found.rows.shape[1]) + 1}  # fmt: skip
    at = np.searchsorted(columns["position"], taken.rows)
    columns["concept"][at], columns["score"][at] = taken.concept, taken.scores
    for concept in np.unique(taken.concept).tolist():
        mine = np.flatnonzero(taken.concept == concept)
        in_order = np.argsort(found.rows[concept], kind="stable")
        columns["rank"][at[mine]] = in_order[np.searchsorted(found.rows[concept][in_order], taken.rows[mine])] + 1
    kept = np.zeros(len(best), bool)
    kept[at] = True
    out.mkdir(parents=True, exist_ok=True)
    write_pieces(_pieces(pool, opened, rows, columns, kept, names), FOUND, out / "found.parquet")
    counts = np.bincount(taken.concept, minlength=len(names))
    summary = {
        "rows": len(pool), "stores": len(pool.names), "concepts": len(names), "quota": quota, "candidates": k,
        "found": len(best), "kept": len(taken.rows), "full": int((counts == quota).sum()),
        "empty": int((counts == 0).sum()),
    }  # fmt: skip
    write_json(summary, out / "summary.json")
    return summary


def _pieces(
    pool: PoolVectors,
    opened: dict[str, FeatureStore],
    rows: dict[str, np.ndarray],
    columns: dict[str, np.ndarray],
    kept: np.ndarray,
    names: Sequence[str],
) -> Iterator[pa.Table]:
    concepts = np.array(list(names), object)
    for start in range(0, len(kept), ROW_GROUP):
        part = slice(start, start + ROW_GROUP)
        positions = columns["position"][part]
        store = np.searchsorted(pool.offsets, positions, side="right") - 1
        ids = np.empty(len(positions), object)
        for number in np.unique(store).tolist():
            name, here = pool.names[number], np.flatnonzero(store == number)
            inside = positions[here] - pool.offsets[number]
            inside = rows[name][inside] if name in rows else inside
            ids[here] = opened[name].row_ids[inside].tolist()
        reason = np.where(kept[part], "candidate of its concept", "concept full")
        yield pa.Table.from_arrays(
            [
                pa.array([pool.names[number] for number in store.tolist()], pa.string()),
                pa.array(ids.tolist(), pa.string()),
                pa.array(kept[part]),
                pa.array(concepts[columns["concept"][part]].tolist(), pa.string()),
                pa.array(columns["score"][part], pa.float32()),
                pa.array(columns["rank"][part].astype(np.int32)),
                pa.array(reason.tolist(), pa.string()),
            ],
            schema=FOUND,
        )
