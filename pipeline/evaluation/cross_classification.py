"""Zero-shot classification of held-out samples of a further modality from prompts alone, each kind by itself."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from pipeline.config import CLASSNAMES, ClassificationSet, EvaluateParams
from pipeline.config.cross_tasks import CrossClassificationParams
from pipeline.datasets.caption_pairs import LANGUAGE
from pipeline.evaluation.cohorts import Measured
from pipeline.evaluation.cross_groups import Samples
from pipeline.evaluation.embeddings import TrainedAligner
from pipeline.evaluation.examples import answers, shares, shown_across
from pipeline.evaluation.findings import Findings
from pipeline.evaluation.prompts import PromptTable
from pipeline.evaluation.results import Evaluated, Unit
from pipeline.evaluation.sample import MOST_CLASSIFIED, sample_note, sampled_repeats
from pipeline.evaluation.zero_shot import LabelledImages, ZeroShotTest, accuracy, class_ranks

PROTOCOL = (
    "Per repeat, each test sample against one vector per class: the mean of the unit vectors of its prompts, brought "
    "back to unit length. Classes are the concepts of the test split of a kind, or all categories of the data set; "
    "classes with identical prompts are one class, and ties count as misses. Kinds of sounds are measured apart, "
    "speech by the language spoken, with prompts in English. Values are over the samples of all repeats together; mean "
    "per class is over the classes of all repeats; intervals resample concept families, and repeats where they differ "
    "by more; differences are paired by sample."
)


def evaluate_cross_classification(
    aligners: Sequence[TrainedAligner], task: CrossClassificationParams, params: EvaluateParams, repeats: int, seed: int
) -> Evaluated:
    """Top-1, top-5 and mean per-class accuracy of every aligner whose space has the modality and texts.

    Raises:
        PermafrostError: tables, stores or heads are missing or do not fit each other.
    """
    findings, table = Findings(params, seed), PromptTable(CLASSNAMES)
    takers = [aligner for aligner in aligners if aligner.takes(task.modality, "text")]
    shown = shown_across(takers, params)
    samples = Samples(task.modality)
    examples: list[dict[str, Any]] = []
    for classes, share in zip(task.classes, shares(params.examples, len(task.classes)), strict=True):
        where = f"{classes.dataset} by {classes.label}"
        labelled = LabelledImages.read(classes, repeats, task.modality)
        test = (labelled.splits == "test") & labelled.named[:, None]
        if test.any() and takers:
            kept = np.all([aligner.has(task.modality, classes.dataset, labelled.ids) for aligner in takers], axis=0)
            test &= kept[:, None]
        if not test.any() or not takers:
            findings.left_out.append(f"{where}: no labelled {task.modality} with a named class in a test split")
            continue
        for group, mask in samples.groups(classes.dataset, labelled.ids):
            inside = test & mask[:, None]
            chosen = sampled_repeats(labelled.ids, inside, MOST_CLASSIFIED)
            if note := sample_note(labelled.ids, inside, chosen, where):
                findings.left_out.append(note)
            tests = {}
            for prompt_set in task.prompt_sets:
                tests = {
                    repeat: ZeroShotTest.prompted(labelled, chosen[:, repeat], classes, table, prompt_set)
                    for repeat in np.flatnonzero(chosen.any(axis=0)).tolist()
                }
                if not tests:
                    continue
                ranks = {
                    one.name: class_ranks(one, classes.dataset, tests, "prompts", CLASSNAMES, task.modality)
                    for one in takers
                }
                label = group.metric(classes.label)
                cohort, measured = accuracy(
                    label, classes.dataset, tests, ranks, group.language or LANGUAGE, prompt_set
                )
                per = [np.array([" ".join(test.texts[c]) for c in test.classes]) for test in tests.values()]
                top1 = measured[0]
                name = f"{label}_mean_per_class_accuracy"
                measured.append(Measured(name, top1.chance, top1.outcomes, np.concatenate(per), top1.most_frequent))
                findings.measure(cohort, measured)
            if shown and 0 in tests and group.kind != "speech":
                names = table.names(classes.dataset, classes.label)
                examples += _examples(shown, task.modality, classes, tests[0], names, share)
    protocol = f"{PROTOCOL} Prompt sets: {table.described(task.prompt_sets)}."
    unit: Unit = "sound" if task.modality == "audio" else "sample"
    return findings.evaluated("cross_classification", protocol, unit, examples, shown.name if shown else None)


def _examples(
    aligner: TrainedAligner,
    modality: str,
    task: ClassificationSet,
    test: ZeroShotTest,
    names: dict[str, str],
    count: int,
) -> Iterator[dict[str, Any]]:
    """`count` samples of repeat 0 with the names of their best-placed classes."""
    classifier = test.classifier(aligner, 0, "prompts", CLASSNAMES)
    called = [names[texts[0]] for texts in test.texts]
    samples = aligner.vectors(0, modality, task.dataset, test.images)
    for answer in answers(samples, classifier, test.positives, test.images, count):
        yield {
            "dataset": task.dataset,
            "label": task.label,
            "query": {"group": "pairs", "dataset": task.dataset, f"{modality}_id": str(test.images[answer.query])},
            "right": called[test.classes[answer.query]],
            "top": [{"class": called[c.position], "score": c.score} for c in answer.best],
            "rank": answer.rank,
        }
