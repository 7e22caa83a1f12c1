"""Retrieval between composed scenes and their long captions, against the length at which captions are cut."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipeline.alignment.pairs import read_samples
from pipeline.config.schema import EvaluateParams
from pipeline.datasets.scenes import Scenes, read_scenes
from pipeline.errors import DataError
from pipeline.evaluation.cohorts import Cohort, Measured
from pipeline.evaluation.embeddings import TrainedAligner
from pipeline.evaluation.examples import choose, image_reference, showcase
from pipeline.evaluation.findings import Findings
from pipeline.evaluation.metrics import chance_at, first_hit_ranks, hits_at
from pipeline.evaluation.results import Evaluated
from pipeline.evaluation.scenes import DATASET, GROUP, SceneImages, SceneTexts
from pipeline.evaluation.statistics import FamilyBootstrap
from pipeline.paths import SCENES

PROTOCOL = (
    "Composed scenes, not photographs, against their composed English captions, which name every object, the largest "
    "first; both ways, per repeat among all scenes. Layouts and captions are new to the heads, but their single "
    "concepts are partly trained on. Captions are cut at each number of tokens, special tokens included; metrics that "
    "end in _chunked read the whole caption in pieces of that length and pool them. "
    "The right answer is the scene's own caption, by its id: where two captions are alike up to the cut, ties count as "
    "misses. Values are over the scenes of all repeats together; intervals resample the concept family of the largest "
    "object; differences are paired by scene. The length with the highest recall is picked after looking, so its "
    "interval against the shortest flatters it."
)
WAYS = ("t2i", "i2t")
CHUNKED = "_chunked"


@dataclass(frozen=True)
class Ranks:
    """Rank of the right answer of one aligner by way and length: (R * N,) int64, the repeats one after another.

    Attributes:
        by: with texts cut at that length.
        chunked: with whole texts, pooled over pieces of that length.
    """

    by: Mapping[tuple[str, int], np.ndarray]
    chunked: Mapping[tuple[str, int], np.ndarray]

    @property
    def lengths(self) -> tuple[int, ...]:
        """The truncations, rising."""
        return tuple(sorted({tokens for _, tokens in self.by}))


def evaluate_long_text(
    aligners: Sequence[TrainedAligner], params: EvaluateParams, repeats: int, seed: int
) -> Evaluated:
    """Recall@k of every aligner that has a dense view and one of long texts, at each length of the captions.

    Head identity needs no dense view: it sees scenes through its image view.

    Raises:
        PermafrostError: tables, stores or heads are missing or do not fit each other.
    """
    findings = Findings(params, seed)
    scenes = read_scenes(SCENES)
    images: dict[str, SceneImages] = {}
    texts: dict[str, SceneTexts] = {}
    for aligner in aligners:
        views = {"dense": aligner.spec.scenes, "long_text": aligner.spec.long_text}
        lacking = [name for name, view in views.items() if view is None]
        if lacking:
            findings.left_out.append(f"{aligner.name}: no {' and no '.join(lacking)} view (aligners.{aligner.name})")
        elif len(scenes):
            images[aligner.name] = SceneImages(aligner, str(aligner.spec.scenes))
            texts[aligner.name] = SceneTexts(aligner, str(aligner.spec.long_text))
    taking_part = [aligner for aligner in aligners if aligner.name in images]
    if not taking_part:
        if not len(scenes):
            findings.left_out.append(f"{DATASET}: no scene was composed")
        return findings.evaluated("long_text", PROTOCOL, "scene")
    usable = np.ones(len(scenes), dtype=bool)
    for name in images:
        usable &= images[name].servable(scenes.ids) & texts[name].servable(scenes.captions)
    if not usable.any():
        findings.left_out.append(f"{DATASET}: no scene could be encoded through every view")
        return findings.evaluated("long_text", PROTOCOL, "scene")
    ids, captions, families = scenes.ids[usable], scenes.captions[usable], _families(scenes, repeats)[usable]
    ranks = {a.name: _ranks(images[a.name], texts[a.name], ids, captions, repeats) for a in taking_part}
    _report(findings, ranks, families, params, repeats)
    shown = showcase(taking_part, params)
    examples = _examples(ranks[shown.name], ids, captions, params.examples) if shown else []
    evaluated = findings.evaluated("long_text", PROTOCOL, "scene", examples)
    added = [line for name, found in ranks.items() for line in _longest(name, found, families, params, repeats, seed)]
    result = replace(evaluated.result, sentences=(*added, *evaluated.result.sentences))
    return replace(evaluated, result=result)


def _families(scenes: Scenes, repeats: int) -> np.ndarray:
    """Concept family of the largest object of each scene, (N,) str."""
    samples = {row[:2]: row[2] for row in read_samples(("dataset", "image_id", "family"), repeats)}
    largest = {thing.scene: (thing.dataset, thing.piece_id) for thing in reversed(scenes.objects)}
    lacking = [piece for piece in largest.values() if piece not in samples]
    if lacking or len(largest) < len(scenes):
        what = f"picture {lacking[0][1]!r} of {lacking[0][0]}" if lacking else "an object in every scene"
        raise DataError(f"Scenes and data/splits do not fit: {what} is missing. Bring them together with: dvc repro")
    return np.array([samples[largest[scene]] for scene in range(len(scenes))], dtype=str)


def _ranks(images: SceneImages, texts: SceneTexts, ids: np.ndarray, captions: np.ndarray, repeats: int) -> Ranks:
    found: dict[tuple[str, int], list[np.ndarray]] = {}
    whole: dict[tuple[str, int], list[np.ndarray]] = {}
    right = np.stack([np.arange(len(ids))] * 2, axis=1)
    for repeat in range(repeats):
        pictures, cut = images.image_vectors(repeat, ids), texts.text_vectors(repeat, captions)
        for place, tokens in enumerate(texts.truncations):
            _both_ways(found, tokens, cut[:, place], pictures, right)
        if texts.chunk_tokens:
            _both_ways(whole, texts.chunk_tokens, texts.chunked_vectors(repeat, captions), pictures, right)
    return Ranks(*({key: np.concatenate(parts) for key, parts in one.items()} for one in (found, whole)))


def _both_ways(
    found: dict[tuple[str, int], list[np.ndarray]],
    tokens: int,
    texts: np.ndarray,
    pictures: np.ndarray,
    right: np.ndarray,
) -> None:
    found.setdefault(("t2i", tokens), []).append(first_hit_ranks(texts, pictures, right))
    found.setdefault(("i2t", tokens), []).append(first_hit_ranks(pictures, texts, right))


def _report(
    findings: Findings, ranks: Mapping[str, Ranks], families: np.ndarray, params: EvaluateParams, repeats: int
) -> None:
    _measure(findings, {name: found.by for name, found in ranks.items()}, "", families, params, repeats)
    _measure(findings, {name: found.chunked for name, found in ranks.items()}, CHUNKED, families, params, repeats)


def _measure(
    findings: Findings,
    ranks: Mapping[str, Mapping[tuple[str, int], np.ndarray]],
    suffix: str,
    families: np.ndarray,
    params: EvaluateParams,
    repeats: int,
) -> None:
    number = len(families)
    for tokens in sorted({tokens for by in ranks.values() for _, tokens in by}):
        cohort = Cohort(
            dataset=DATASET,
            families=np.tile(families, repeats),
            repeat=np.repeat(np.arange(repeats), number),
            candidates=(number,) * repeats,
            language="en",
            tokens=tokens,
        )
        measured = [
            Measured(
                metric=f"{way}_recall@{k}{suffix}",
                chance=chance_at(np.ones(number * repeats, dtype=np.int64), number, k),
                outcomes={name: hits_at(by[way, tokens], k) for name, by in ranks.items() if (way, tokens) in by},
            )
            for way in WAYS
            for k in params.recall_at
        ]
        findings.measure(cohort, measured)


def _longest(
    name: str, ranks: Ranks, families: np.ndarray, params: EvaluateParams, repeats: int, seed: int
) -> list[str]:
    """In words: at which length recall is highest, and whether that differs from the shortest."""
    shortest, k = ranks.lengths[0], params.recall_at[0]
    boot = FamilyBootstrap(np.tile(families, repeats), params.bootstrap, seed)
    lines = []
    for way in WAYS:
        hits = {tokens: hits_at(ranks.by[way, tokens], k) for tokens in ranks.lengths}
        best = max(hits, key=lambda tokens: (hits[tokens].mean(), -tokens))
        line = f"{name}: {way}_recall@{k} on {DATASET} scenes is highest at {best} tokens ({hits[best].mean():.4f})"
        if best == shortest:
            lines.append(f"{line}, the shortest captions.")
            continue
        compared = boot.compare(hits[best], hits[shortest])
        verdict = "no established difference from" if not compared.excludes_zero else "above"
        interval = compared.interval
        shown = f", 95 % interval {interval[0]:+.4f} to {interval[1]:+.4f}" if interval else ""
        lines.append(f"{line}, {verdict} {shortest} tokens ({compared.difference:+.4f}{shown}).")
    return lines


def _examples(ranks: Ranks, ids: np.ndarray, captions: np.ndarray, count: int) -> list[dict[str, Any]]:
    """Scenes chosen by hash, and the rank of each among the answers to its caption, by length, in repeat 0."""
    first = {tokens: ranks.by["t2i", tokens][: len(ids)] for tokens in ranks.lengths}
    return [
        {
            "scene": image_reference(DATASET, ids[scene], GROUP),
            "text_id": str(captions[scene]),
            "ranks": {str(tokens): int(found[scene]) for tokens, found in first.items()},
            "candidates": len(ids),
        }
        for scene in choose(ids, first[ranks.lengths[-1]] == 1, count)
    ]
