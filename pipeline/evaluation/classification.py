"""Zero-shot classification of held-out concepts, and of categories, from prompts alone."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.config import CLASSNAMES, ClassificationParams, ClassificationSet, EvaluateParams
from pipeline.datasets.caption_pairs import LANGUAGE
from pipeline.evaluation.cohorts import Measured
from pipeline.evaluation.embeddings import TrainedAligner
from pipeline.evaluation.examples import answers, image_reference, shares, showcase
from pipeline.evaluation.findings import Findings
from pipeline.evaluation.prompts import PromptTable, protocol_text
from pipeline.evaluation.results import Evaluated
from pipeline.evaluation.sample import MOST_CLASSIFIED, sample_note, sampled_repeats
from pipeline.evaluation.zero_shot import LabelledImages, ZeroShotTest, accuracy, class_ranks

PROTOCOL = (
    "Per repeat, each test image against one vector per class: the mean of the unit vectors of its prompts, brought "
    "back to unit length. Classes are the concepts of the test split, or all categories of the data set; classes with"
    " identical prompts are one class, and ties count as misses. Values are over the images of all repeats together; "
    "mean per class is over the classes of all repeats; intervals resample concept families, and repeats where they "
    "differ by more; differences are paired by image."
)


def evaluate_classification(
    aligners: Sequence[TrainedAligner], task: ClassificationParams, params: EvaluateParams, repeats: int, seed: int
) -> Evaluated:
    """Top-1, top-5 and mean per-class accuracy of every aligner, and differences between aligners.

    Raises:
        PermafrostError: tables, stores or heads are missing or do not fit each other.
    """
    findings = Findings(params, seed)
    table = PromptTable(CLASSNAMES)
    shown = showcase(aligners, params)
    examples: list[dict[str, Any]] = []
    for classes, share in zip(task.classes, shares(params.examples, len(task.classes)), strict=True):
        where = f"{classes.dataset} by {classes.label}"
        labelled = LabelledImages.read(classes, repeats)
        test = labelled.splits == "test"
        if not test.any():
            findings.left_out.append(f"{where}: no labelled image in the test split of any repeat")
            continue
        if unnamed := int((test.any(axis=1) & ~labelled.named).sum()):
            findings.left_out.append(
                f"{where}: {unnamed} of {int(test.any(axis=1).sum())} test images, whose class has no name and so no "
                "prompt"
            )
        test &= labelled.named[:, None]
        if not test.any():
            continue
        test &= np.all([aligner.has_image(classes.dataset, labelled.ids) for aligner in aligners], axis=0)[:, None]
        if not test.any():
            findings.left_out.append(f"{where}: no labelled test image could be encoded")
            continue
        usable, test = test, sampled_repeats(labelled.ids, test, MOST_CLASSIFIED)
        if note := sample_note(labelled.ids, usable, test, where):
            findings.left_out.append(note)
        for prompt_set in task.prompt_sets:
            tests = _tests(classes, labelled, test, table, prompt_set, task.class_vectors)
            _measure(findings, classes, prompt_set, aligners, tests)
        if shown and 0 in tests:  # the prompt set measured last
            names = table.names(classes.dataset, classes.label)
            examples += _examples(shown, classes, tests[0], names, prompt_set, share)
    protocol = f"{protocol_text(PROTOCOL, task.class_vectors)} Prompt sets: {table.described(task.prompt_sets)}."
    return findings.evaluated("classification", protocol, "image", examples)


def _tests(
    task: ClassificationSet, labelled: LabelledImages, test: np.ndarray, table: PromptTable, prompt_set: str, kind: str
) -> dict[int, ZeroShotTest]:
    """By repeat, the test images of `test` (n, R) bool and their classes; repeats without any are absent."""
    return {
        repeat: ZeroShotTest.prompted(labelled, test[:, repeat], task, table, prompt_set, kind)
        for repeat in np.flatnonzero(test.any(axis=0)).tolist()
    }


def _measure(
    findings: Findings,
    task: ClassificationSet,
    prompt_set: str,
    aligners: Sequence[TrainedAligner],
    tests: Mapping[int, ZeroShotTest],
) -> None:
    """Measure one label of one data set with one prompt set, each aligner with its own prompt table."""
    ranks = {aligner.name: class_ranks(aligner, task.dataset, tests, "prompts", CLASSNAMES) for aligner in aligners}
    cohort, measured = accuracy(task.label, task.dataset, tests, ranks, LANGUAGE, prompt_set)
    classes = np.concatenate([np.array([" ".join(test.texts[c]) for c in test.classes]) for test in tests.values()])
    top1 = measured[0]
    per_class = f"{task.label}_mean_per_class_accuracy"
    measured.append(Measured(per_class, top1.chance, top1.outcomes, classes, top1.most_frequent))
    findings.measure(cohort, measured)


def _examples(
    aligner: TrainedAligner,
    task: ClassificationSet,
    test: ZeroShotTest,
    names: dict[str, str],
    prompt_set: str,
    count: int,
) -> Iterator[dict[str, Any]]:
    """`count` images of repeat 0 with the names of their best-placed classes."""
    classifier = test.classifier(aligner, 0, "prompts", CLASSNAMES)
    called = [names[texts[0]] for texts in test.texts]
    images = aligner.image_vectors(0, task.dataset, test.images)
    for answer in answers(images, classifier, test.positives, test.images, count):
        yield {
            "dataset": task.dataset,
            "label": task.label,
            "prompt_set": prompt_set,
            "image": image_reference(task.dataset, test.images[answer.query]),
            "right": called[test.classes[answer.query]],
            "top": [{"class": called[c.position], "score": c.score} for c in answer.best],
            "rank": answer.rank,
        }
