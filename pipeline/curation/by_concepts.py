"""A curation by concepts: hygiene, choice and outcome of every repeat, from its own train split."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.coded import Coded
from pipeline.config.concept_curations import ConceptCuration
from pipeline.curation.choice import Choice, choose
from pipeline.curation.coverage import balance, mean
from pipeline.curation.hygiene import PictureHashes, Reasons, clean
from pipeline.curation.outcome import (
    OUTCOME,
    averaged_table,
    concept_table,
    contact_sheet,
    covered,
    histogram,
    outcome_pieces,
    reason_counts,
)
from pipeline.curation.run import SELECTED, Selection, selected_pieces
from pipeline.curation.samples import SampleReader, Samples
from pipeline.curation.spaces import open_space
from pipeline.datasets.tables import write_pieces
from pipeline.errors import DataError
from pipeline.files import write_csv, write_json
from pipeline.ids import Ids

PROTOCOL = (
    "Per repeat, from train pictures alone, each with its first caption in English. Hygiene drops samples; concepts "
    "are represented by their prototypes, retrieve candidates by cosine and take them rare concepts first, each "
    "sample once. outcome.parquet has the reason for every sample. Figures are means over repeats; precision is known "
    "where labels name the concept."
)
_COLUMNS = ("concept", "label", "pool", "shots", "candidates", "selected", "precision", "mean_score", "min_score")


def curate_by_concepts(spec: ConceptCuration, *, repeats: int, seed: int, out: Path, device: str = "cpu") -> str:
    """Write outcome.parquet, selected.parquet, coverage.json and coverage.csv into `out`; returns a table.

    Repeat i uses the seed `seed * repeats + i`, as its split does.

    Raises:
        DataError: splits or texts are missing, or the pool or its concepts are empty.
        ModelError: the aligner is missing.
        StoreError: features are missing or do not belong to the splits.
    """
    reader = SampleReader([*dict.fromkeys((*spec.pool, *spec.hygiene.decontaminate))], repeats)
    made: list[tuple[Samples, Reasons, Choice]] = []
    hashes = PictureHashes()
    for repeat in range(repeats):
        samples = reader.of(spec.pool, repeat, "train")
        if not len(samples):
            raise DataError(f"There is no train picture of {', '.join(spec.pool)} in data/splits to select from.")
        space, own = open_space(spec, repeat, device), seed * repeats + repeat
        found = clean(spec, samples, reader, space, repeat, own, hashes)
        if not len(found.left):
            told = ", ".join(f"{count} {reason}" for reason, count in Counter(found.reason.tolist()).most_common())
            raise DataError(
                f"The hygiene of the curation leaves nothing of {len(samples)} samples of repeat {repeat}: {told}. "
                "Ask for less under `hygiene`."
            )
        made.append((samples, found, choose(spec, samples, found, space, own, device)))
    out.mkdir(parents=True, exist_ok=True)
    pieces = (p for repeat, one in enumerate(made) for p in outcome_pieces(repeat, *one))
    write_pieces(pieces, OUTCOME, out / "outcome.parquet")
    write_pieces(
        selected_pieces([_selection(samples, choice) for samples, _, choice in made]),
        SELECTED,
        out / "selected.parquet",
    )
    coverage = _coverage(spec, made, seed)
    write_json(coverage, out / "coverage.json")
    write_csv(coverage["concepts"], _COLUMNS, out / "coverage.csv")
    return "\n".join(coverage["sentences"])


def _selection(samples: Samples, choice: Choice) -> Selection:
    names = Ids.of([concept.name for concept in choice.prototypes.concepts] if choice.prototypes else ())
    concept, score = choice.concept[choice.rows].copy(), choice.score[choice.rows].copy()
    drawn = slice(choice.counts.get("concepts", len(concept)), None)
    concept[drawn], score[drawn] = -1, np.nan
    return Selection(samples.pool, choice.rows, Coded(concept, names), score, [])


def _coverage(spec: ConceptCuration, made: list[tuple[Samples, Reasons, Choice]], seed: int) -> dict[str, Any]:
    tables = [concept_table(choice) for _, _, choice in made]
    sizes = [len(choice.rows) for _, _, choice in made]
    balances = [balance(samples.pool, choice.rows, seed) for samples, _, choice in made]
    means = {name: mean([one[name] for one in balances]) for name in ("selected", "pool", "random", "random_sd")}
    reasons: dict[str, float] = {}
    for one in made:
        for reason, count in reason_counts(*one).items():
            reasons[reason] = reasons.get(reason, 0.0) + count / len(made)
    apart = [choice.difference for _, _, choice in made if choice.difference is not None]
    concepts = averaged_table(tables)
    indexed = [choice.index for _, _, choice in made if choice.index is not None]
    shares = [covered(c.prototypes.concepts, c.rows) for _, _, c in made if c.prototypes]
    share = mean([one.total / one.best if one.best else None for one in apart])
    without = sorted({name for _, _, c in made if c.prototypes for name in c.prototypes.without})
    sentences = [f"{_range(sizes)} train images per repeat are selected of {_range([len(s) for s, _, _ in made])}."]
    sentences += [f"{reason}: {count:.1f} samples." for reason, count in reasons.items()]
    if shares:
        sentences.append(f"{mean(shares):.1%} of {len(concepts)} concepts have a sample among the selected.")
    if share is not None:
        moved = np.mean([one.moved + one.swapped for one in apart])
        sentences.append(
            f"Rare concepts first reaches {share:.4f} of the total similarity of the best assignment, which gives "
            f"{moved:.1f} of its samples to another concept or to none."
        )
    if indexed:
        sentences.append(f"The index finds {mean([one.recall for one in indexed]):.3f} of the exact candidates.")
    if without:
        sentences.append(f"Left out, as no sample has them: {len(without)} concepts, such as {', '.join(without[:5])}.")
    return {
        "schema": 1,
        "method": spec.preset or f"balance {spec.balance}",
        "view": spec.view,
        "protocol": PROTOCOL,
        "images": {f"repeat_{repeat}": size for repeat, size in enumerate(sizes)},
        "shortfall": {f"repeat_{repeat}": max(0, spec.images - size) for repeat, size in enumerate(sizes)},
        "reasons": {reason: round(count, 6) for reason, count in reasons.items()},
        "concepts": concepts,
        "histogram": histogram(concepts),
        "covered": mean(shares),
        "balance": means,
        "share_of_best_assignment": share,
        "difference": [asdict(one) for one in apart],
        "index_recall": mean([one.recall for one in indexed]) if indexed else None,
        "contact_sheet": contact_sheet(*made[0][::2]),
        "sentences": sentences,
    }


def _range(sizes: list[int]) -> str:
    return f"{min(sizes)} to {max(sizes)}" if min(sizes) != max(sizes) else str(min(sizes))
