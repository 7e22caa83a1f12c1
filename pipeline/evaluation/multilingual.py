"""Zero-shot classification and retrieval in every language of the captions, after training on English ones alone."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.coded import Coded
from pipeline.config import ClassificationSet, EvaluateParams, MultilingualParams
from pipeline.datasets.caption_pairs import LANGUAGE, CaptionPairs, read_caption_pairs
from pipeline.evaluation.caption_sets import both_ways, recall, retrieval_sets
from pipeline.evaluation.cohorts import Cohort, Measured, joined, pooled
from pipeline.evaluation.concept_captions import MOST_CAPTIONS, ConceptCaptions
from pipeline.evaluation.embeddings import TrainedAligner
from pipeline.evaluation.examples import choose, image_reference, shares, showcase
from pipeline.evaluation.findings import Findings
from pipeline.evaluation.metrics import first_hit_ranks, hits_at
from pipeline.evaluation.prompts import protocol_text
from pipeline.evaluation.results import AVERAGE, Evaluated
from pipeline.evaluation.sample import MOST_CLASSIFIED, sample_note, sampled_repeats
from pipeline.evaluation.zero_shot import LabelledImages, ZeroShotTest, accuracy, class_ranks

PROTOCOL = (
    "The heads learnt from English captions alone; each language is tested by itself. Classification: per repeat, "
    "each test image against the concepts of the test split. A class is the mean of the unit vectors of the concept's"
    " captions in that language, brought back to unit length: the bare name, no template, so English differs from the"
    " task classification. Concepts with the same captions are one class; those without one, and their images, are "
    "left out in that language. The text ceiling sees no image: it is the share of images whose class in the language"
    " is nearest to its own English class, through the same heads. Where every concept has a single caption, top-k "
    "accuracy equals i2t recall@k. Retrieval: as in the task retrieval, among the captions of that language. Ties "
    "count as misses. Values are over the items of all repeats together; 'average' is the mean over all languages but"
    " English, each counting equally; intervals resample concept families, in all languages at once, and repeats "
    "where they differ by more; differences are paired by item."
)
Part = tuple[Cohort, list[Measured]]


@dataclass(frozen=True)
class _Language:
    """One language of one data set, and the aligners that have features of its captions."""

    code: str
    pairs: CaptionPairs
    aligners: list[TrainedAligner]


def evaluate_multilingual(
    aligners: Sequence[TrainedAligner], task: MultilingualParams, params: EvaluateParams, repeats: int, seed: int
) -> Evaluated:
    """Top-1 and top-5 accuracy and recall of every aligner in every language, and on average over languages.

    An aligner whose text view lacks a language is left out for that language and from the average.

    Raises:
        PermafrostError: tables, stores or heads are missing or do not fit each other.
    """
    findings = Findings(params, seed)
    pairs = read_caption_pairs(task.datasets, repeats, languages=None)
    shown = showcase(aligners, params)
    examples: list[dict[str, Any]] = []
    for dataset, share in zip(task.datasets, shares(params.examples, len(task.datasets)), strict=True):
        inside = pairs.where(pairs.dataset == dataset)
        if not (inside.splits == "test").any():
            findings.left_out.append(f"{dataset}: no captioned image in the test split of any repeat")
            continue
        labelled = LabelledImages.read(ClassificationSet(dataset=dataset, label="concept"), repeats)
        usable = np.all([aligner.has_image(dataset, labelled.ids) for aligner in aligners], axis=0)
        possible = (labelled.splits == "test") & usable[:, None]
        tested = sampled_repeats(labelled.ids, possible, MOST_CLASSIFIED)
        if note := sample_note(labelled.ids, possible, tested, f"{dataset} by concept"):
            findings.left_out.append(note)
        captions = ConceptCaptions(labelled, tested)
        languages = _languages(aligners, dataset, inside, findings)
        tests = {}
        foreign: dict[str, list[Part]] = defaultdict(list)
        for language in languages:
            tests[language.code] = _concept_tests(language, dataset, captions, findings, task.class_vectors)
            for kind, part in _parts(
                language,
                dataset,
                tests[language.code],
                tests.get(LANGUAGE),
                repeats,
                task.recall_at,
                findings.left_out,
            ).items():
                findings.measure(*part)
                if language.code != LANGUAGE:
                    foreign[kind].append(part)
        for parts in foreign.values():
            findings.measure(*pooled(parts, AVERAGE))
        if shown:
            seen = {one.code: tests[one.code][0] for one in languages if shown in one.aligners and 0 in tests[one.code]}
            examples += _examples(shown, dataset, captions.tested_concepts(), seen, share)
    return findings.evaluated("multilingual", protocol_text(PROTOCOL, task.class_vectors), "query", examples)


def _languages(
    aligners: Sequence[TrainedAligner], dataset: str, pairs: CaptionPairs, findings: Findings
) -> list[_Language]:
    """The languages that at least one aligner has features of, English first; what is missing is reported."""
    codes = sorted(pairs.language.distinct(), key=lambda code: (code != LANGUAGE, code))
    texts = {code: np.unique(pairs.text_id.codes[pairs.language == code]) for code in codes}
    uses = np.zeros(len(pairs.text_id.values), np.int32)
    for of_language in texts.values():
        uses[of_language] += 1
    able: dict[str, list[TrainedAligner]] = {code: [] for code in codes}
    for aligner in aligners:
        lacking = []
        for code in codes:
            unique = texts[code][uses[texts[code]] == 1]  # "Pizza" is in many languages
            asked = Coded(unique if unique.size else texts[code], pairs.text_id.values)
            held = aligner.holds_text("pairs", dataset, asked)
            if held.any() if unique.size else held.all():
                able[code].append(aligner)
            else:
                lacking.append(code)
        if lacking:
            findings.left_out.append(
                f"{aligner.name} on {dataset}: view {aligner.views['text']} has no captions in "
                f"{', '.join(lacking)}; the aligner is left out there, and from the average if another one has them"
            )
    return [_Language(code, pairs.where(pairs.language == code), able[code]) for code in codes if able[code]]


def _concept_tests(
    language: _Language, dataset: str, captions: ConceptCaptions, findings: Findings, kind: str
) -> dict[int, ZeroShotTest]:
    """By repeat, the test images whose concept has a caption in the language; repeats without any are absent."""
    ids = language.pairs.text_id
    served = np.all([aligner.has_text("pairs", dataset, ids) for aligner in language.aligners], axis=0)
    names, cut = captions.of(language.pairs.where(served))
    labelled, tested = captions.labelled, captions.tested
    named = np.array([value in names for value in labelled.values.values], dtype=bool)[labelled.values.codes]
    if cut:
        findings.left_out.append(
            f"{dataset} in {language.code}: {cut} test concepts have more than {MOST_CAPTIONS} captions in this "
            f"language; their classes are made of {MOST_CAPTIONS} of them, the first by their ids, which are hashes"
        )
    if unnamed := len(set(labelled.values[tested.any(axis=1) & ~named].tolist())):
        findings.left_out.append(
            f"{dataset} in {language.code}: {unnamed} test concepts have no caption in this language; they are no "
            "classes, and their images are not classified"
        )
    tests = {}
    for repeat in np.flatnonzero((tested & named[:, None]).any(axis=0)).tolist():
        mask = tested[:, repeat] & named
        texts = {value: names[value] for value in labelled.values[mask].distinct()}
        tests[repeat] = ZeroShotTest.of(labelled, mask, texts, kind)
    return tests


def _parts(
    language: _Language,
    dataset: str,
    tests: Mapping[int, ZeroShotTest],
    english: Mapping[int, ZeroShotTest] | None,
    repeats: int,
    recall_at: Sequence[int],
    left_out: list[str],
) -> dict[str, Part]:
    """Items and metrics of classification and of both directions of retrieval, where there are test items."""
    parts: dict[str, Part] = {}
    if tests:
        ranks = {a.name: class_ranks(a, dataset, tests, "pairs", dataset) for a in language.aligners}
        cohort, measured = accuracy("concept", dataset, tests, ranks, language.code)
        if english and language.code != LANGUAGE:
            measured.append(_ceiling(language.aligners, dataset, tests, english))
        parts["concept"] = cohort, measured
    if sets := retrieval_sets(language.pairs, dataset, repeats, language.aligners, left_out):
        for direction, found in both_ways(sets, dataset, language.aligners).items():
            parts[direction] = recall(direction, dataset, sets, found, recall_at, language.code)
    return parts


def _ceiling(
    aligners: Sequence[TrainedAligner],
    dataset: str,
    tests: Mapping[int, ZeroShotTest],
    english: Mapping[int, ZeroShotTest],
) -> Measured:
    """Whether the class of each image, named in this language, is nearest to its English class; no image is used.

    An image whose concept has no English caption counts as a miss.
    """
    chance, outcomes = [], defaultdict[str, list[np.ndarray]](list)
    for repeat, test in tests.items():
        named = english.get(repeat)
        class_of = dict(zip(named.images.tolist(), named.classes.tolist(), strict=True)) if named else {}
        queries = np.array(
            [place for place, image in enumerate(test.images.tolist()) if image in class_of], dtype=np.int64
        )
        classes = np.array([class_of[image] for image in test.images[queries].tolist()], dtype=np.int64)
        expected = np.zeros(len(test.images))
        expected[queries] = 1 / len(named.texts) if named else 0
        chance.append(expected)
        for aligner in aligners:
            hits = np.zeros(len(test.images))
            if named and queries.size:
                translated = test.classifier(aligner, repeat, "pairs", dataset)[test.classes[queries]]
                positives = np.stack([np.arange(len(queries)), classes], axis=1)
                ranks = first_hit_ranks(translated, named.classifier(aligner, repeat, "pairs", dataset), positives)
                hits[queries] = hits_at(ranks, 1)
            outcomes[aligner.name].append(hits)
    return Measured("concept_text_ceiling", np.concatenate(chance), joined(outcomes))


def _examples(
    aligner: TrainedAligner,
    dataset: str,
    concept_of: Mapping[str, str],
    tests: Mapping[str, ZeroShotTest],
    count: int,
) -> Iterator[dict[str, Any]]:
    """`count` test images of repeat 0 with the concept that each language finds; half are correct in the first."""
    by_image: dict[str, dict[str, Any]] = defaultdict(dict)
    for code, test in tests.items():
        vectors = aligner.image_vectors(0, dataset, test.images)
        classifier = test.classifier(aligner, 0, "pairs", dataset)
        concepts = {
            test.texts[place]: concept_of[image] for image, place in zip(test.images, test.classes, strict=True)
        }
        best = (vectors @ classifier.T).argmax(axis=1)
        correct = first_hit_ranks(vectors, classifier, test.positives) == 1
        for image, place, hit in zip(test.images.tolist(), best.tolist(), correct.tolist(), strict=True):
            texts = test.texts[place]
            by_image[image][code] = {"concept": concepts[texts], "text_id": texts[0], "right": hit}
    images = sorted(by_image)
    correct_first = np.array([next(iter(by_image[image].values()))["right"] for image in images], dtype=bool)
    for place in choose(images, correct_first, count):
        image = images[place]
        yield {
            "dataset": dataset,
            "image": image_reference(dataset, image),
            "right": concept_of[image],
            "languages": by_image[image],
        }
