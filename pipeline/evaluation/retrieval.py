"""Image-caption retrieval on held-out concept families, each data set apart."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.alignment.pairs import CaptionPairs, read_caption_pairs
from pipeline.config.schema import EvaluateParams
from pipeline.evaluation.embeddings import TrainedAligner
from pipeline.evaluation.metrics import chance_at, chance_median_rank, first_hit_ranks, hits_at, right_counts
from pipeline.evaluation.outcomes import Cohort, Measured, report, sentence
from pipeline.evaluation.results import Difference, Row, TaskResult
from pipeline.evaluation.statistics import spread

PROTOCOL = (
    "Per repeat, the images of the test split of a data set against the distinct English captions of that split, both "
    "ways; an identical caption of another image is right, and ties count as misses. Values are over the queries of "
    "all repeats together; intervals resample concept families; differences are paired by query."
)


@dataclass(frozen=True)
class RetrievalSet:
    """The test items of one repeat.

    Attributes:
        images, texts: (N,), (M,) distinct ids.
        image_families, text_families: their concept families; a caption of several has the first in sorted order.
        right: (P, 2) int64, position in `images`, position in `texts`.
    """

    images: np.ndarray
    texts: np.ndarray
    image_families: np.ndarray
    text_families: np.ndarray
    right: np.ndarray

    @classmethod
    def of(cls, pairs: CaptionPairs) -> "RetrievalSet":
        """All images and captions of `pairs`."""
        images, image_at = np.unique(pairs.image_id.astype(str), return_inverse=True)
        texts, text_at = np.unique(pairs.text_id.astype(str), return_inverse=True)
        return cls(
            images,
            texts,
            _first_family(image_at, pairs.family),
            _first_family(text_at, pairs.family),
            np.stack([image_at, text_at], axis=1),
        )


def evaluate_retrieval(
    aligners: Sequence[TrainedAligner], params: EvaluateParams, repeats: int, seed: int
) -> TaskResult:
    """Recall@k and median rank of every aligner in both directions, and differences from the control.

    Raises:
        PermafrostError: tables, stores or heads are missing or do not fit each other.
    """
    pairs = read_caption_pairs(params.datasets, repeats)
    rows: list[Row] = []
    differences: list[Difference] = []
    left_out = []
    for dataset in params.datasets:
        sets = {repeat: _test_set(pairs, dataset, repeat, aligners) for repeat in range(repeats)}
        tested = {repeat: items for repeat, items in sets.items() if items is not None}
        if not tested:
            left_out.append(f"{dataset}: no captioned image in the test split of any repeat")
            continue
        ranks = _ranks(tested, dataset, aligners)
        for direction in ("i2t", "t2i"):
            found = _direction(direction, dataset, tested, ranks[direction], params, seed)
            rows += found[0]
            differences += found[1]
    return TaskResult(
        task="retrieval",
        protocol=PROTOCOL,
        unit="query",
        rows=tuple(rows),
        differences=tuple(differences),
        sentences=tuple(sentence(difference) for difference in differences),
        left_out=tuple(left_out),
    )


def _test_set(
    pairs: CaptionPairs, dataset: str, repeat: int, aligners: Sequence[TrainedAligner]
) -> RetrievalSet | None:
    """The test pairs that every aligner has features of, so that all answer the same queries."""
    test = pairs.of(repeat, "test", dataset)
    if len(test) == 0:
        return None
    usable = np.ones(len(test), dtype=bool)
    for aligner in aligners:
        usable &= aligner.has_image(dataset, test.image_id) & aligner.has_text("pairs", dataset, test.text_id)
    return RetrievalSet.of(test.where(usable)) if usable.any() else None


def _ranks(
    tested: dict[int, RetrievalSet], dataset: str, aligners: Sequence[TrainedAligner]
) -> dict[str, dict[str, np.ndarray]]:
    """Rank of the first right candidate by direction and aligner, the repeats one after another."""
    collected: dict[str, dict[str, list[np.ndarray]]] = {"i2t": defaultdict(list), "t2i": defaultdict(list)}
    for aligner in aligners:
        for repeat, items in tested.items():
            heads = aligner.heads(repeat)
            images = aligner.image_vectors(heads, dataset, items.images)
            texts = aligner.text_vectors(heads, "pairs", dataset, items.texts)
            collected["i2t"][aligner.name].append(first_hit_ranks(images, texts, items.right))
            collected["t2i"][aligner.name].append(first_hit_ranks(texts, images, items.right[:, ::-1]))
    return {way: {name: np.concatenate(parts) for name, parts in by.items()} for way, by in collected.items()}


def _direction(
    direction: str,
    dataset: str,
    tested: dict[int, RetrievalSet],
    ranks: dict[str, np.ndarray],
    params: EvaluateParams,
    seed: int,
) -> tuple[list[Row], list[Difference]]:
    forward = direction == "i2t"
    families = [items.image_families if forward else items.text_families for items in tested.values()]
    candidates = [len(items.texts if forward else items.images) for items in tested.values()]
    rights = [
        right_counts(items.right if forward else items.right[:, ::-1], len(family))
        for items, family in zip(tested.values(), families, strict=True)
    ]
    cohort = Cohort(
        dataset=dataset,
        families=np.concatenate(families),
        repeat=np.repeat(list(tested), [len(family) for family in families]),
        candidates=tuple(candidates),
        language="en",
    )
    measured = [
        Measured(
            metric=f"{direction}_recall@{k}",
            chance=np.concatenate([chance_at(r, c, k) for r, c in zip(rights, candidates, strict=True)]),
            outcomes={name: hits_at(found, k) for name, found in ranks.items()},
        )
        for k in params.recall_at
    ]
    rows, differences = report(cohort, measured, params.control, params.bootstrap, seed)
    medians = float(np.mean([chance_median_rank(r, c) for r, c in zip(rights, candidates, strict=True)]))
    rows += [_median_row(cohort, direction, name, found, medians) for name, found in ranks.items()]
    return rows, differences


def _median_row(cohort: Cohort, direction: str, aligner: str, ranks: np.ndarray, chance: float) -> Row:
    """The median has no interval here: it is not a mean of families."""
    return Row(
        aligner=aligner,
        dataset=cohort.dataset,
        metric=f"{direction}_median_rank",
        value=float(np.median(ranks)),
        chance=chance,
        ci=None,
        sd_repeats=spread([float(np.median(ranks[cohort.repeat == repeat])) for repeat in np.unique(cohort.repeat)]),
        n_items=len(ranks),
        n_candidates=float(np.mean(cohort.candidates)),
        n_families=len(np.unique(cohort.families.astype(str))),
        repeats=len(cohort.candidates),
        language=cohort.language,
    )


def _first_family(positions: np.ndarray, families: np.ndarray) -> np.ndarray:
    """Family of each distinct item (n,), the first in sorted order where it has several."""
    order = np.lexsort((families.astype(str), positions))
    _, first = np.unique(positions[order], return_index=True)
    return families[order][first].astype(str)
