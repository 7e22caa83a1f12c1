"""Retrieval by scores that are corrected for hubs, apart from the plain scores of the task retrieval."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from pipeline.config import CorrectedRetrievalParams, Correction, EvaluateParams
from pipeline.datasets.caption_pairs import CaptionPairs, read_caption_pairs
from pipeline.evaluation.caption_sets import RetrievalSet, both_ways, recall, retrieval_sets
from pipeline.evaluation.cohorts import joined
from pipeline.evaluation.embeddings import TrainedAligner
from pipeline.evaluation.findings import Findings
from pipeline.evaluation.hubness import correction
from pipeline.evaluation.metrics import first_hit_ranks
from pipeline.evaluation.results import Evaluated

UNCORRECTED = "uncorrected"  # what the plain scores of an aligner are called beside the corrected ones
LARGEST_BANK = 8192  # queries
PROTOCOL = (
    "As the task retrieval, but with the scores of candidates lowered that very many queries are near to; a metric "
    "begins with the correction and the queries that it looks at. Every correction uses the gallery, which is all "
    "candidates of the test. With training, it looks at queries of the training split of the same repeat and data set "
    "(at most {largest}, evenly spaced), and each test query is answered by itself. With test, it looks at all test "
    "queries of the repeat and data set at once (transductive): such figures are not comparable with plain ones. csls: "
    "2 cos minus the mean cosine of the candidate with its {neighbours} nearest of these queries. inverted-softmax: "
    "the softmax over these queries in place of that over candidates. dual-softmax: the cosine times that softmax. "
    "Softmaxes take each head's own scale, so nothing was tuned. Differences from '<aligner> uncorrected' are "
    "paired by query with its plain scores."
)


def evaluate_corrected_retrieval(
    aligners: Sequence[TrainedAligner], task: CorrectedRetrievalParams, params: EvaluateParams, repeats: int, seed: int
) -> Evaluated:
    """Recall@k of every aligner by corrected scores, and what each correction changed.

    Raises:
        PermafrostError: tables, stores or heads are missing or do not fit each other.
    """
    pairs = read_caption_pairs(task.datasets, repeats)
    findings = Findings(params, seed)
    for dataset in task.datasets:
        tested = retrieval_sets(pairs, dataset, repeats, aligners, findings.left_out)
        if not tested:
            findings.left_out.append(f"{dataset}: no captioned image in the test split of any repeat")
            continue
        plain = both_ways(tested, dataset, aligners)
        for queries in task.queries:
            banks = tested if queries == "test" else training_sets(pairs, dataset, tested, aligners)
            if lacking := [repeat for repeat in tested if repeat not in banks]:
                findings.left_out.append(f"{dataset}: repeat {lacking[0]} has no training query to look at")
                continue
            for method in task.methods:
                ranks = _corrected(method, tested, banks, dataset, aligners, task.neighbours)
                for direction, by_aligner in ranks.items():
                    cohort, measured = recall(direction, dataset, tested, by_aligner, task.recall_at)
                    _, before = recall(direction, dataset, tested, plain[direction], task.recall_at)
                    for one, other in zip(measured, before, strict=True):
                        named = replace(one, metric=f"{method}_{queries}_{one.metric}")
                        findings.measure(cohort, [named])
                        findings.measure_change(cohort, named, other.outcomes, UNCORRECTED)
    protocol = PROTOCOL.format(neighbours=task.neighbours, largest=LARGEST_BANK)
    return findings.evaluated("corrected_retrieval", protocol, "query")


def training_sets(
    pairs: CaptionPairs, dataset: str, tested: Mapping[int, RetrievalSet], aligners: Sequence[TrainedAligner]
) -> dict[int, RetrievalSet]:
    """The training pairs of each repeat that every aligner has features of; repeats without any are absent."""
    inside = pairs.where(pairs.dataset == dataset)
    usable = [
        aligner.has_image(dataset, inside.image_id) & aligner.has_text("pairs", dataset, inside.text_id)
        for aligner in aligners
    ]
    inside = inside.where(np.all(usable, axis=0))
    training = {repeat: _thinned(inside.of(repeat, "train")) for repeat in tested}
    return {repeat: RetrievalSet.of(of) for repeat, of in training.items() if len(of)}


def _corrected(
    method: Correction,
    tested: Mapping[int, RetrievalSet],
    banks: Mapping[int, RetrievalSet],
    dataset: str,
    aligners: Sequence[TrainedAligner],
    neighbours: int,
) -> dict[str, dict[str, np.ndarray]]:
    """Rank of the first positive by direction and aligner, the repeats one after another, by corrected scores."""
    found: dict[str, dict[str, list[np.ndarray]]] = {"i2t": defaultdict(list), "t2i": defaultdict(list)}
    for aligner in aligners:
        for repeat, items in tested.items():
            scale = aligner.logit_scale(repeat)
            images = aligner.image_vectors(repeat, dataset, items.images)
            texts = aligner.text_vectors(repeat, "pairs", dataset, items.texts)
            seen_images = aligner.image_vectors(repeat, dataset, _spaced(banks[repeat].images))
            seen_texts = aligner.text_vectors(repeat, "pairs", dataset, _spaced(banks[repeat].texts))
            for direction, queries, bank, candidates, positives in (
                ("i2t", images, seen_images, texts, items.positives),
                ("t2i", texts, seen_texts, images, items.positives[:, ::-1]),
            ):
                rescore = correction(method, bank, candidates, neighbours, scale)
                found[direction][aligner.name].append(first_hit_ranks(queries, candidates, positives, rescore))
    return {direction: joined(by_aligner) for direction, by_aligner in found.items()}


def _thinned(pairs: CaptionPairs) -> CaptionPairs:
    """Evenly spaced pairs, where there are far more than a bank takes queries."""
    if len(pairs) <= 4 * LARGEST_BANK:
        return pairs
    kept = np.zeros(len(pairs), dtype=bool)
    kept[np.arange(4 * LARGEST_BANK) * len(pairs) // (4 * LARGEST_BANK)] = True
    return pairs.where(kept)


def _spaced(ids: np.ndarray) -> np.ndarray:
    """At most `LARGEST_BANK` of the ids, evenly spaced."""
    return ids if len(ids) <= LARGEST_BANK else ids[np.arange(LARGEST_BANK) * len(ids) // LARGEST_BANK]
