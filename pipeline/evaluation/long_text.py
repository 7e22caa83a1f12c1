"""Retrieval between images and their long captions, by the length at which captions are cut."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipeline.config import EvaluateParams, LongTextParams
from pipeline.evaluation.caption_sets import recall
from pipeline.evaluation.cohorts import joined
from pipeline.evaluation.embeddings import TrainedAligner
from pipeline.evaluation.examples import choose, image_reference, showcase
from pipeline.evaluation.findings import Findings
from pipeline.evaluation.long_sets import LongSet, caption_set, scene_set
from pipeline.evaluation.metrics import hits_at
from pipeline.evaluation.results import Evaluated
from pipeline.statistics import FamilyBootstrap

PROTOCOL = (
    "Images against their long English captions, both ways: composed scenes, not photographs, with captions that name"
    " every object, the largest first, per repeat among all scenes; of other data sets the test split of each repeat."
    " Layouts and captions of scenes are new to the heads, their single concepts are partly trained on. Captions are "
    "cut at each number of tokens, special tokens included; metrics that end in _chunked read the whole caption in "
    "pieces of that length and pool them. The right answer is an own caption, by its id: where two captions are alike"
    " up to the cut, ties count as misses. Values are over the items of all repeats together; intervals resample "
    "concept families, of a scene that of its largest object, and repeats where they differ by more; differences are "
    "paired by item. The length with the highest recall is picked after looking, so its interval against the shortest"
    " flatters it."
)
WAYS = ("t2i", "i2t")
CHUNKED = "_chunked"
ByLength = dict[tuple[str, int], np.ndarray]


@dataclass(frozen=True)
class Ranks:
    """Rank of the first positive of one aligner by way and length: (n,) int64, the repeats one after another.

    Attributes:
        by: with texts cut at that length.
        chunked: with whole texts, pooled over pieces of that length.
    """

    by: ByLength
    chunked: ByLength

    @property
    def lengths(self) -> tuple[int, ...]:
        """The truncations, ascending."""
        return tuple(sorted({tokens for _, tokens in self.by}))


def evaluate_long_text(
    aligners: Sequence[TrainedAligner], task: LongTextParams, params: EvaluateParams, repeats: int, seed: int
) -> Evaluated:
    """Recall@k of every aligner that has a view of long texts, at each length of the captions.

    Raises:
        PermafrostError: tables, stores or heads are missing or do not fit each other.
    """
    findings = Findings(params, seed)
    sets = [] if task.scenes is None else [scene_set(task.scenes, aligners, repeats, findings)]
    sets += [caption_set(dataset, aligners, repeats, findings) for dataset in task.datasets]
    lines: list[str] = []
    examples: list[dict[str, Any]] = []
    for items in sets:
        if items is None:
            continue
        ranks = {aligner.name: _ranks(items, aligner.name) for aligner in aligners if aligner.name in items.images}
        _measure(findings, items, {name: found.by for name, found in ranks.items()}, "", task.recall_at)
        _measure(findings, items, {name: found.chunked for name, found in ranks.items()}, CHUNKED, task.recall_at)
        for name, found in ranks.items():
            lines += _longest(name, found, items, task.recall_at[0], params.bootstrap, seed)
        shown = showcase([aligner for aligner in aligners if aligner.name in ranks], params)
        if shown and not examples:
            examples = _examples(ranks[shown.name], items, params.examples)
    evaluated = findings.evaluated("long_text", PROTOCOL, "scene", examples)
    return replace(evaluated, result=replace(evaluated.result, sentences=(*lines, *evaluated.result.sentences)))


def _ranks(items: LongSet, name: str) -> Ranks:
    images, texts = items.images[name], items.texts[name]
    truncated: dict[tuple[str, int], list[np.ndarray]] = defaultdict(list)
    chunked: dict[tuple[str, int], list[np.ndarray]] = defaultdict(list)
    for repeat, test in items.tests.items():
        pictures, cut = images.image_vectors(repeat, test.images), texts.text_vectors(repeat, test.texts)
        for place, tokens in enumerate(texts.truncations):
            for way, ranks in test.ranks(pictures, cut[:, place]).items():
                truncated[way, tokens].append(ranks)
        if texts.chunk_tokens:
            for way, ranks in test.ranks(pictures, texts.chunked_vectors(repeat, test.texts)).items():
                chunked[way, texts.chunk_tokens].append(ranks)
    return Ranks(joined(truncated), joined(chunked))


def _measure(
    findings: Findings, items: LongSet, ranks: Mapping[str, ByLength], suffix: str, recall_at: Sequence[int]
) -> None:
    for tokens in sorted({tokens for by in ranks.values() for _, tokens in by}):
        for way in WAYS:
            of = {name: by[way, tokens] for name, by in ranks.items() if (way, tokens) in by}
            cohort, measured = recall(way, items.name, items.tests, of, recall_at)
            named = [replace(metric, metric=metric.metric + suffix) for metric in measured]
            findings.measure(replace(cohort, tokens=tokens), named)


def _longest(name: str, ranks: Ranks, items: LongSet, k: int, draws: int, seed: int) -> list[str]:
    """Sentences: at which length recall is highest, and whether that differs from the shortest."""
    shortest = ranks.lengths[0]
    lines = []
    for way in WAYS:
        families = np.concatenate([test.side(way)[0] for test in items.tests.values()])
        repeat = np.repeat(list(items.tests), [len(test.side(way)[0]) for test in items.tests.values()])
        bootstrap = FamilyBootstrap(families, draws, seed, repeat=repeat)
        hits = {tokens: hits_at(ranks.by[way, tokens], k) for tokens in ranks.lengths}
        best = max(hits, key=lambda tokens: (hits[tokens].mean(), -tokens))
        what = f"{items.name} scenes" if items.group == "scenes" else items.name
        line = f"{name}: {way}_recall@{k} on {what} is highest at {best} tokens ({hits[best].mean():.4f})"
        if best == shortest:
            lines.append(f"{line}, the shortest captions.")
            continue
        compared = bootstrap.compare(hits[best], hits[shortest])
        verdict = "no established difference from" if not compared.excludes_zero else "above"
        interval = compared.interval
        shown = f", 95 % interval {interval[0]:+.4f} to {interval[1]:+.4f}" if interval else ""
        lines.append(f"{line}, {verdict} {shortest} tokens ({compared.difference:+.4f}{shown}).")
    return lines


def _examples(ranks: Ranks, items: LongSet, count: int) -> list[dict[str, Any]]:
    """Captions chosen by hash, with the rank of the image of each by length, in the first repeat."""
    test = next(iter(items.tests.values()))
    image_of = dict(zip(test.positives[::-1, 1].tolist(), test.positives[::-1, 0].tolist(), strict=True))
    first = {tokens: ranks.by["t2i", tokens][: len(test.texts)] for tokens in ranks.lengths}
    images = test.images[[image_of[text] for text in range(len(test.texts))]]
    return [
        {
            "scene": image_reference(items.name, images[place], items.group),
            "text_id": str(test.texts[place]),
            "ranks": {str(tokens): int(by_text[place]) for tokens, by_text in first.items()},
            "candidates": len(test.images),
        }
        for place in choose(images, first[ranks.lengths[-1]] == 1, count)
    ]
