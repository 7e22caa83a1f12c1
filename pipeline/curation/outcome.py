"""What became of every sample of a pool, as a table, and what a choice covers."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.coded import Coded
from pipeline.curation.choice import Choice
from pipeline.curation.concepts import NamedConcept
from pipeline.curation.coverage import mean
from pipeline.curation.hygiene import Reasons
from pipeline.curation.samples import Samples
from pipeline.datasets.tables import ROW_GROUP
from pipeline.ids import Ids

OUTCOME = pa.schema(
    [
        ("repeat", pa.int32()),
        ("dataset", pa.string()),
        ("image_id", pa.string()),
        ("text_id", pa.string()),  # of its first caption, or null
        ("kept", pa.bool_()),
        ("order", pa.int32()),  # in which it was chosen, or null
        ("concept", pa.string()),  # that took it or, of those it was a candidate of, the nearest; or null
        ("score", pa.float32()),  # its cosine with that concept's prototype, or null
        ("rank", pa.int32()),  # its place among that concept's candidates, from 1, or null
        ("reason", pa.string()),  # why it is kept or dropped
        ("detail", pa.string()),  # of which sample it is a copy, or the figure that told; or null
    ]
)
_EDGES = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
_SHOWN = 12  # pictures of a concept on its contact sheet


def kept_reasons(choice: Choice) -> np.ndarray:
    """Why each of the chosen rows (n,) is kept."""
    names = np.where(choice.rank[choice.rows] > 0, "candidate of its concept", "drawn")
    names[choice.counts.get("concepts", len(names)) :] = "drawn"
    return names


def outcome_pieces(repeat: int, samples: Samples, found: Reasons, choice: Choice) -> Iterator[pa.Table]:
    """The rows of one repeat in pieces, in the order of the samples."""
    order = np.full(len(samples), -1, np.int64)
    order[choice.rows] = np.arange(len(choice.rows))
    reason = found.reason.copy()
    reason[choice.rows] = kept_reasons(choice)
    names = Ids.of([concept.name for concept in choice.prototypes.concepts] if choice.prototypes else ())
    for start in range(0, len(samples), ROW_GROUP):
        part = slice(start, start + ROW_GROUP)
        here = order[part]
        rank = choice.rank[part]
        columns = [
            pa.array(np.full(len(here), repeat, np.int32)),
            samples.pool.dataset[part].arrow(),
            samples.pool.image_id[part].arrow(),
            samples.text_id[part].arrow(),
            pa.array(here >= 0),
            pa.array(here.astype(np.int32), mask=here < 0),
            Coded(choice.concept[part], names).arrow(),
            pa.array(choice.score[part], mask=np.isnan(choice.score[part])),
            pa.array(rank.astype(np.int32), mask=rank == 0),
            pa.array(reason[part].tolist(), pa.string()),
            pa.array(found.detail[part].tolist(), pa.string()),
        ]
        yield pa.Table.from_arrays(columns, schema=OUTCOME)


def reason_counts(samples: Samples, found: Reasons, choice: Choice) -> dict[str, int]:
    """How many samples were kept or dropped for which reason, most frequent first."""
    counted = Counter(kept_reasons(choice).tolist())
    dropped = np.ones(len(samples), bool)
    dropped[choice.rows] = False
    counted.update(found.reason[dropped].tolist())
    return dict(sorted(counted.items(), key=lambda entry: (-entry[1], entry[0])))


def _taken(choice: Choice) -> Iterator[tuple[NamedConcept, int, np.ndarray]]:
    """Each concept with its shots and the rows that were selected for it; nothing without concepts."""
    if choice.prototypes is None:
        return
    taken = choice.rows[: choice.counts.get("concepts", len(choice.rows))]
    for number, concept in enumerate(choice.prototypes.concepts):
        yield concept, int(choice.prototypes.shots[number]), taken[choice.concept[taken] == number]


def concept_table(choice: Choice) -> list[dict[str, Any]]:
    """Of each concept in one repeat: samples that have it, shots, candidates, selected, precision and scores.

    Precision is the share of those selected for it that are known to have it, where labels say so.
    """
    out = []
    for concept, shots, mine in _taken(choice):
        scores = choice.score[mine]
        known = concept.by == "labels" and len(concept.carriers)
        out.append(
            {
                "concept": concept.name,
                "dataset": "",
                "label": concept.by,
                "pool": len(concept.carriers),
                "shots": shots,
                "candidates": choice.candidates,
                "selected": len(mine),
                "precision": float(np.isin(mine, concept.carriers).mean()) if known and len(mine) else None,
                "mean_score": float(scores.mean()) if len(mine) else None,
                "min_score": float(scores.min()) if len(mine) else None,
            }
        )
    return out


def averaged_table(repeats: Sequence[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The rows of all repeats, averaged by concept; repeats that lack a concept do not count for it."""
    collected: dict[str, list[dict[str, Any]]] = {}
    for rows in repeats:
        for row in rows:
            collected.setdefault(row["concept"], []).append(row)
    figures = ("pool", "shots", "candidates", "selected", "precision", "mean_score", "min_score")
    return [
        {"concept": name, "dataset": "", "label": rows[0]["label"], **{f: mean([r[f] for r in rows]) for f in figures}}
        for name, rows in sorted(collected.items())
    ]


def histogram(table: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """How many concepts have so many samples, before (all of the pool) and after (of what is selected)."""
    edges = np.array([*_EDGES, np.inf])
    before, after = (
        np.histogram([round(row[key] or 0) for row in table], bins=edges)[0] for key in ("pool", "selected")
    )
    out = []
    for low, high, one, other in zip(_EDGES, edges[1:], before.tolist(), after.tolist(), strict=True):
        if one or other:
            last = "" if np.isinf(high) else int(high) - 1
            name = str(low) if last == low else f"{low} to {last}" if last != "" else f"{low} and more"
            out.append({"samples": name, "before": one, "after": other})
    return out


def contact_sheet(samples: Samples, choice: Choice) -> list[dict[str, Any]]:
    """Of each concept the best samples that were selected for it, at most twelve, as references to an index."""
    out = []
    for concept, _, mine in _taken(choice):
        mine = mine[np.lexsort((mine, -choice.score[mine]))][:_SHOWN]
        pairs = zip(samples.pool.dataset[mine].tolist(), samples.pool.image_id[mine].tolist(), strict=True)
        pictures = [{"group": "pairs", "dataset": dataset, "image_id": identifier} for dataset, identifier in pairs]
        out.append({"concept": concept.name, "pictures": pictures})
    return out


def covered(concepts: Sequence[NamedConcept], rows: np.ndarray) -> float | None:
    """The share of concepts that at least one of some rows is known to have."""
    if not concepts:
        return None
    return float(np.mean([bool(np.isin(concept.carriers, rows).any()) for concept in concepts]))
