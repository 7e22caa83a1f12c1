"""Selecting training images, every repeat from its own train split, and reporting on the selection."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.coded import Coded
from pipeline.config import AnyCuration, PrototypeImages
from pipeline.config.modalities import many, one
from pipeline.curation.assignment import Assignment, assign, best_total
from pipeline.curation.coverage import averaged, balance, concept_rows, mean
from pipeline.curation.pool import Pool, read_features, read_pools
from pipeline.curation.prototypes import concepts_of, prototypes
from pipeline.curation.retrieval import retrieve
from pipeline.datasets.sample_table import IMAGE
from pipeline.datasets.tables import ROW_GROUP, write_pieces
from pipeline.errors import DataError
from pipeline.files import write_csv, write_json
from pipeline.ids import Ids

SELECTED = pa.schema(
    [
        ("repeat", pa.int32()),
        ("dataset", pa.string()),
        ("image_id", pa.string()),
        ("concept", pa.string()),  # the concept that retrieved it, or null
        ("score", pa.float32()),  # its cosine with that prototype, or null
        ("order", pa.int32()),  # in which it was chosen
    ]
)
_COVERAGE = ("dataset", "label", "concept", "pool", "candidates", "selected", "precision", "mean_score", "min_score")
PROTOCOL = {
    "all": "Every train {one} of the pool, in every repeat.",
    "random": "Train {many} of the pool in hash order with the seed of the repeat, as many as the parameter says.",
    "prototypes": (
        "Per repeat, from train {many} alone: a prototype per concept is the mean of the unit {one} features of a few "
        "labelled shots; each prototype retrieves its nearest pool {many} by cosine (shots may come back); concepts "
        "take turns, the one with the most distant candidates first, and {a} {one} belongs to one concept. Precision "
        "is over the selected {many} of the concept's own data set; figures are means over repeats."
    ),
}


@dataclass(frozen=True)
class Selection:
    """The selection of one repeat: rows of its pool in order and, with prototypes, how they were chosen.

    Attributes:
        rows: (n,) int64.
        concepts: (n,), null where no concept retrieved the image.
        scores: (n,) float32, NaN there.
    """

    pool: Pool
    rows: np.ndarray
    concepts: Coded
    scores: np.ndarray
    coverage: list[dict[str, Any]]
    greedy_total: float | None = None
    best_total: float | None = None


def curate_images(spec: AnyCuration, *, repeats: int, seed: int, out: Path, modality: str = IMAGE) -> str:
    """Write selected.parquet, coverage.json and coverage.csv into `out`; returns a table for the terminal.

    Repeat i uses the seed `seed * repeats + i`, as its split does. Only its train split is ever looked at. Samples of
    another `modality` than pictures are selected alike; `image_id` then has their ids.

    Raises:
        DataError: the splits are missing, or a repeat has no image to choose from although a data set has some.
        StoreError: features of the view are missing or do not belong to the splits.
    """
    pools = read_pools(spec.pool, repeats, modality)
    if not any(len(pool) for pool in pools):
        raise DataError(
            f"There is no train {one(modality)} of {', '.join(spec.pool)} in data/splits to select from. See the logs "
            "of the stage index for what was unavailable, or name other data sets under the curation's `pool`."
        )
    selections = [_select(spec, pool, seed * repeats + repeat) for repeat, pool in enumerate(pools)]
    out.mkdir(parents=True, exist_ok=True)
    write_pieces(selected_pieces(selections), SELECTED, out / "selected.parquet")
    coverage = _coverage(spec, selections, seed, modality)
    write_json(coverage, out / "coverage.json")
    write_csv(coverage["concepts"], _COVERAGE, out / "coverage.csv")
    return _table(coverage)


def _select(spec: AnyCuration, pool: Pool, seed: int) -> Selection:
    if isinstance(spec, PrototypeImages):
        return _by_prototypes(spec, pool, seed)
    rows = np.arange(len(pool))
    return _without_concepts(pool, rows if spec.method == "all" else pool.in_hash_order(rows, seed)[: spec.images])


def _without_concepts(pool: Pool, rows: np.ndarray) -> Selection:
    nothing = Coded(np.full(len(rows), -1, np.int8), Ids.of(()))
    return Selection(pool, rows, nothing, np.full(len(rows), np.nan, np.float32), [])


def _by_prototypes(spec: PrototypeImages, pool: Pool, seed: int) -> Selection:
    features, encoded = read_features(spec.view, pool)
    pool = pool.take(encoded)
    concepts = concepts_of(pool, [(entry.dataset, entry.label) for entry in spec.concepts])
    if not concepts:
        return _without_concepts(pool, np.empty(0, dtype=np.int64))
    candidates = retrieve(features, prototypes(pool, features, concepts, spec.shots, seed), spec.candidates)
    chosen: Assignment = assign(candidates, spec.images)
    counts = np.bincount(chosen.concept, minlength=len(concepts))
    return Selection(
        pool,
        chosen.rows,
        Coded(chosen.concept, Ids.of([concept.name for concept in concepts])),
        chosen.scores,
        concept_rows(pool, concepts, candidates, chosen),
        float(chosen.scores.sum(dtype=np.float64)),
        best_total(candidates, counts),
    )


def selected_pieces(selections: list[Selection]) -> Iterator[pa.Table]:
    """The rows of selected.parquet in pieces, repeat after repeat."""
    for repeat, selection in enumerate(selections):
        for start in range(0, len(selection.rows), ROW_GROUP):
            part = slice(start, start + ROW_GROUP)
            rows, scores = selection.rows[part], selection.scores[part].astype(np.float32)
            columns = [
                pa.array(np.full(len(rows), repeat, np.int32)),
                selection.pool.dataset[rows].arrow(),
                selection.pool.image_id[rows].arrow(),
                selection.concepts[part].arrow(),
                pa.array(scores, mask=np.isnan(scores)),
                pa.array(np.arange(start, start + len(rows), dtype=np.int32)),
            ]
            yield pa.Table.from_arrays(columns, schema=SELECTED)


def _coverage(spec: AnyCuration, selections: list[Selection], seed: int, modality: str) -> dict[str, Any]:
    sizes = [len(selection.rows) for selection in selections]
    wanted = [min(spec.images or len(s.pool), len(s.pool)) for s in selections]
    shortfall = [max(0, want - size) for want, size in zip(wanted, sizes, strict=True)]
    balances = [balance(s.pool, s.rows, seed) for s in selections]
    means = {
        name: mean([figures[name] for figures in balances]) for name in ("selected", "pool", "random", "random_sd")
    }
    totals = [(s.greedy_total, s.best_total) for s in selections if s.greedy_total and s.best_total]
    optimal = round(float(np.mean([greedy / best for greedy, best in totals])), 6) if totals else None
    sentences = [f"{min(sizes)} to {max(sizes)} train {many(modality)} per repeat are selected (method {spec.method})."]
    if any(shortfall):
        sentences.append(f"Up to {max(shortfall)} {many(modality)} fewer than asked for: the candidates ran out.")
    if spec.method != "all" and means["selected"] is not None and means["random"] is not None:
        sentences.append(
            f"Evenness of the categories: {means['selected']:.3f} among the selected, {means['pool']:.3f} in the pool, "
            f"{means['random']:.3f} (sd {means['random_sd'] or 0:.3f}) in random draws of equal size."
        )
    if optimal is not None:
        sentences.append(f"The greedy order reaches {optimal:.4f} of the total similarity of the best assignment.")
    return {
        "schema": 1,
        "method": spec.method,
        "view": spec.view,
        "protocol": PROTOCOL[spec.method].format(
            one=one(modality), many=many(modality), a="an" if one(modality)[0] in "aeiou" else "a"
        ),
        "images": {f"repeat_{repeat}": size for repeat, size in enumerate(sizes)},
        "shortfall": {f"repeat_{repeat}": number for repeat, number in enumerate(shortfall)},
        "concepts": averaged([selection.coverage for selection in selections]),
        "balance": means,
        "share_of_best_assignment": optimal,
        "sentences": sentences,
    }


def _table(coverage: dict[str, Any]) -> str:
    lines = [f"{'concept':28} {'in pool':>8} {'selected':>9} {'precision':>10}"] if coverage["concepts"] else []
    for row in coverage["concepts"]:
        precision = "-" if row["precision"] is None else f"{row['precision']:.3f}"
        lines.append(
            f"{row['dataset'] + ' ' + row['concept']:28} {row['pool']:8.1f} {row['selected']:9.1f} {precision:>10}"
        )
    return "\n".join([*lines, *coverage["sentences"]])
