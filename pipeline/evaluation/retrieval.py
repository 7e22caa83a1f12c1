"""Image-caption retrieval on held-out concept families, each data set by itself."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.config import EvaluateParams, RetrievalParams
from pipeline.datasets.caption_pairs import read_caption_pairs
from pipeline.evaluation.caption_sets import RetrievalSet, both_ways, recall, retrieval_sets
from pipeline.evaluation.embeddings import TrainedAligner
from pipeline.evaluation.examples import answers, image_reference, shares, showcase
from pipeline.evaluation.findings import Findings
from pipeline.evaluation.metrics import chance_median_rank
from pipeline.evaluation.results import Evaluated

PROTOCOL = (
    "Per repeat, the images of the test split of a data set against the distinct English captions of that split, both"
    " ways; an identical caption of another image is right, and ties count as misses. Values are over the queries of "
    "all repeats together; intervals resample concept families, and repeats where they differ by more; differences "
    "are paired by query."
)


def evaluate_retrieval(
    aligners: Sequence[TrainedAligner], task: RetrievalParams, params: EvaluateParams, repeats: int, seed: int
) -> Evaluated:
    """Recall@k and median rank of every aligner in both directions, and differences between aligners.

    Raises:
        PermafrostError: tables, stores or heads are missing or do not fit each other.
    """
    pairs = read_caption_pairs(task.datasets, repeats)
    findings = Findings(params, seed)
    first: dict[str, RetrievalSet] = {}
    for dataset in task.datasets:
        tested = retrieval_sets(pairs, dataset, repeats, aligners, findings.left_out)
        if not tested:
            findings.left_out.append(f"{dataset}: no captioned image in the test split of any repeat")
            continue
        ranks = both_ways(tested, dataset, aligners)
        for direction, by_aligner in ranks.items():
            cohort, measured = recall(direction, dataset, tested, by_aligner, task.recall_at)
            findings.measure(cohort, measured)
            chance = _chance_median(direction, tested)
            findings.measure_medians(cohort, f"{direction}_median_rank", by_aligner, chance)
        if 0 in tested:
            first[dataset] = tested[0]
    shown = showcase(aligners, params)
    examples = list(_examples(shown, first, params.examples)) if shown else []
    return findings.evaluated("retrieval", PROTOCOL, "query", examples)


def _chance_median(direction: str, tested: Mapping[int, RetrievalSet]) -> float:
    """Median rank under random orders, mean over repeats."""
    sides = [items.side(direction) for items in tested.values()]
    return float(np.mean([chance_median_rank(counts, candidates) for _, counts, candidates in sides]))


def _examples(aligner: TrainedAligner, sets: Mapping[str, RetrievalSet], count: int) -> Iterator[dict[str, Any]]:
    """`count` examples of each direction in repeat 0, dealt out over the data sets."""
    for dataset, items, share in zip(sets, sets.values(), shares(count, len(sets)), strict=True):
        images: list[dict[str, Any]] = [{"image": image_reference(dataset, image)} for image in items.images]
        image_of = dict(items.positives[::-1, ::-1].tolist())  # the first image of each caption
        texts: list[dict[str, Any]] = [
            {"text_id": str(text), **images[image_of[place]]} for place, text in enumerate(items.texts)
        ]
        image_vectors = aligner.image_vectors(0, dataset, items.images)
        text_vectors = aligner.text_vectors(0, "pairs", dataset, items.texts)
        directions = {
            "t2i": (texts, images, answers(text_vectors, image_vectors, items.positives[:, ::-1], items.texts, share)),
            "i2t": (images, texts, answers(image_vectors, text_vectors, items.positives, items.images, share)),
        }
        for kind, (queries, candidates, answered) in directions.items():
            for answer in answered:
                results = [{**candidates[c.position], "score": c.score, "right": c.positive} for c in answer.best]
                query = queries[answer.query]
                yield {"kind": kind, "dataset": dataset, "query": query, "rank": answer.rank, "results": results}
