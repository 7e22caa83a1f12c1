"""Retrieval between a further modality and pictures or texts, on held-out concept families, each kind by itself."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.config import EvaluateParams
from pipeline.config.cross_tasks import CrossRetrievalParams, CrossSet
from pipeline.datasets.caption_pairs import LANGUAGE, read_caption_pairs, read_linked_pairs
from pipeline.evaluation.caption_sets import RetrievalSet, tested_by_repeat
from pipeline.evaluation.cohorts import Cohort, Measured, joined
from pipeline.evaluation.cross_groups import Group, Samples
from pipeline.evaluation.embeddings import TrainedAligner
from pipeline.evaluation.examples import answers, shares, shown_across
from pipeline.evaluation.findings import Findings
from pipeline.evaluation.metrics import chance_at, hits_at
from pipeline.evaluation.results import Evaluated

PROTOCOL = (
    "Per repeat, the samples of the test split of a data set against what belongs to them in that split, both ways; "
    "a2t is from sounds to texts, i2a from pictures to sounds. Kinds of sounds are measured apart, speech by the "
    "language spoken: against English captions, and as `transcript` against captions in the language spoken. Pictures "
    "and sounds are joined by the links of the data set. An identical text or picture of another sample is right, and "
    "ties count as misses. Values are over the queries of all repeats together; intervals resample concept families, "
    "and repeats where they differ by more; differences are paired by query."
)
TRANSCRIPT = "transcript"


def evaluate_cross_retrieval(
    aligners: Sequence[TrainedAligner], task: CrossRetrievalParams, params: EvaluateParams, repeats: int, seed: int
) -> Evaluated:
    """Recall@k of every aligner whose space has both modalities, in both directions, and differences between aligners.

    Raises:
        PermafrostError: tables, stores or heads are missing or do not fit each other.
    """
    findings = Findings(params, seed)
    examples: list[dict[str, Any]] = []
    shown = shown_across(aligners, params)
    for one, share in zip(task.sets, shares(params.examples, len(task.sets)), strict=True):
        takers = [aligner for aligner in aligners if aligner.takes(*one.between)]
        found = list(_sets(one, takers, repeats, findings.left_out))
        for group, tested, of_group in found:
            _measure(findings, one, group, tested, of_group, task.recall_at)
        kept = [(group, tested[0]) for group, tested, _ in found if 0 in tested and group.kind != TRANSCRIPT]
        if shown is not None and shown in takers and kept:
            for (group, items), count in zip(kept, shares(share, len(kept)), strict=True):
                examples += _examples(shown, one, group, items, count)
    return findings.evaluated("cross_retrieval", PROTOCOL, "query", examples, shown.name if shown else None)


def _sets(
    one: CrossSet, aligners: Sequence[TrainedAligner], repeats: int, left_out: list[str]
) -> Iterator[tuple[Group, dict[int, RetrievalSet], list[TrainedAligner]]]:
    """The test pairs of each group by repeat, and the aligners that take them, all of which have features of them."""
    first, second = one.between
    where = f"{one.dataset}, {first} and {second}"
    further = first if second == "text" else second
    if second == "text":
        pairs = read_caption_pairs([one.dataset], repeats, languages=None, modality=first)
    else:
        pairs = read_linked_pairs(second, [one.dataset], repeats)
    pairs = pairs.where((pairs.splits == "test").any(axis=1))
    if not len(pairs) or not aligners:
        left_out.append(f"{where}: no pair in the test split of any repeat")
        return
    pairs = pairs.where(np.all([aligner.has(first, one.dataset, pairs.image_id) for aligner in aligners], axis=0))
    held = {aligner.name: aligner.has(second, one.dataset, pairs.text_id) for aligner in aligners}
    samples = Samples(further)
    spoken = samples.spoken(pairs, one.dataset) if second == "text" else np.zeros(len(pairs), dtype=bool)
    english = (pairs.language == LANGUAGE) if second == "text" else np.ones(len(pairs), dtype=bool)
    for group, mask in samples.groups(one.dataset, pairs.image_id if further == first else pairs.text_id):
        parts = [(group, mask & english)]
        if second == "text" and group.language not in (None, LANGUAGE):
            parts.append((Group(TRANSCRIPT, group.language), mask & spoken))
        for part, chosen in parts:
            named = " ".join(filter(None, (where, part.kind, part.language)))
            takers = [aligner for aligner in aligners if held[aligner.name][chosen].any()]
            usable = chosen & np.all([held[aligner.name] for aligner in takers], axis=0) if takers else chosen & False
            tested = tested_by_repeat(pairs.where(usable), repeats, named, left_out)
            if tested:
                yield part, tested, takers
            else:
                left_out.append(f"{named}: no pair in the test split of any repeat")


def _measure(
    findings: Findings,
    one: CrossSet,
    group: Group,
    tested: Mapping[int, RetrievalSet],
    aligners: Sequence[TrainedAligner],
    recall_at: Sequence[int],
) -> None:
    first, second = one.between
    language = group.language or (LANGUAGE if second == "text" else None)
    ranks: dict[str, dict[str, list[np.ndarray]]] = {"i2t": defaultdict(list), "t2i": defaultdict(list)}
    for aligner in aligners:
        for repeat, items in tested.items():
            queries = aligner.vectors(repeat, first, one.dataset, items.images)
            candidates = aligner.vectors(repeat, second, one.dataset, items.texts)
            for way, of in items.ranks(queries, candidates).items():
                ranks[way][aligner.name].append(of)
    for way, called in (("i2t", f"{first[0]}2{second[0]}"), ("t2i", f"{second[0]}2{first[0]}")):
        sides = [items.side(way) for items in tested.values()]
        families = {repeat: side[0] for repeat, side in zip(tested, sides, strict=True)}
        cohort = Cohort.of_repeats(one.dataset, families, [count for _, _, count in sides], language=language)
        by_aligner = joined(ranks[way])
        findings.measure(
            cohort,
            [
                Measured(
                    metric=group.metric(f"{called}_recall@{k}"),
                    chance=np.concatenate([chance_at(counts, candidates, k) for _, counts, candidates in sides]),
                    outcomes={name: hits_at(by_query, k) for name, by_query in by_aligner.items()},
                )
                for k in recall_at
            ],
        )


def _examples(
    aligner: TrainedAligner, one: CrossSet, group: Group, items: RetrievalSet, count: int
) -> Iterator[dict[str, Any]]:
    """`count` examples of repeat 0, from the first modality to the second."""
    first, second = one.between
    queries = aligner.vectors(0, first, one.dataset, items.images)
    candidates = aligner.vectors(0, second, one.dataset, items.texts)
    for answer in answers(queries, candidates, items.positives, items.images, count):
        yield {
            "kind": group.kind,
            "language": group.language or "",
            "dataset": one.dataset,
            "from": first,
            "to": second,
            "query": _reference(first, one.dataset, str(items.images[answer.query])),
            "rank": answer.rank,
            "results": [
                {**_reference(second, one.dataset, str(items.texts[c.position])), "score": c.score, "right": c.positive}
                for c in answer.best
            ],
        }


def _reference(modality: str, dataset: str, identifier: str) -> dict[str, str]:
    """Where a sample is: its index data/index/pairs/<dataset>, and its id in that index."""
    return {"group": "pairs", "dataset": dataset, f"{modality}_id": identifier}
