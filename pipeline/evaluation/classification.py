"""Zero-shot classification of held-out concepts, and of categories, from prompts alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.alignment.pairs import read_samples
from pipeline.config.schema import ClassificationSet, EvaluateParams
from pipeline.evaluation.embeddings import TrainedAligner
from pipeline.evaluation.metrics import chance_at, first_hit_ranks, hits_at
from pipeline.evaluation.outcomes import Cohort, Measured, report, sentence
from pipeline.evaluation.prompts import PromptTable, class_vectors
from pipeline.evaluation.results import Difference, Row, TaskResult

PROTOCOL = (
    "Per repeat, each test image against one vector per class: the mean of the unit vectors of its prompts, brought "
    "back to unit length. Classes are the concepts of the test split, or all categories of the data set; classes with "
    "identical prompts are one class, and ties count as misses. Values are over the images of all repeats together; "
    "mean per class is over the classes of all repeats; intervals resample concept families; differences are paired "
    "by image."
)
_TOP = (1, 5)


@dataclass(frozen=True)
class LabelledImages:
    """Images with a label: (n,) str each; `splits` is (n, R)."""

    ids: np.ndarray
    values: np.ndarray
    families: np.ndarray
    splits: np.ndarray

    @classmethod
    def read(cls, task: ClassificationSet, repeats: int) -> "LabelledImages":
        """All images of the data set whose label is not null; errors as `read_samples`."""
        rows = read_samples(("dataset", "image_id", task.label, "family"), repeats)
        kept = [row[1:] for row in rows if row[0] == task.dataset and row[2] is not None]
        array = np.array(kept, dtype=str).reshape(len(kept), 3 + repeats)
        return cls(array[:, 0], array[:, 1], array[:, 2], array[:, 3:])


@dataclass(frozen=True)
class ClassificationTest:
    """The test items of one repeat: (n,) ids, families and class of each image; prompt ids of each class."""

    images: np.ndarray
    families: np.ndarray
    classes: np.ndarray
    prompts: list[tuple[str, ...]]


def evaluate_classification(
    aligners: Sequence[TrainedAligner], params: EvaluateParams, repeats: int, seed: int
) -> TaskResult:
    """Top-1, top-5 and mean per-class accuracy of every aligner, and differences from the control.

    Raises:
        PermafrostError: tables, stores or heads are missing or do not fit each other.
    """
    rows: list[Row] = []
    differences: list[Difference] = []
    left_out = []
    for task in params.classification:
        labelled = LabelledImages.read(task, repeats)
        if not (labelled.splits == "test").any():
            left_out.append(f"{task.dataset} by {task.label}: no labelled image in the test split of any repeat")
            continue
        for prompt_set in params.prompt_sets:
            found = _evaluate(aligners, params, task, labelled, prompt_set, seed)
            rows += found[0]
            differences += found[1]
    return TaskResult(
        task="classification",
        protocol=PROTOCOL,
        unit="image",
        rows=tuple(rows),
        differences=tuple(differences),
        sentences=tuple(sentence(difference) for difference in differences),
        left_out=tuple(left_out),
    )


def _evaluate(
    aligners: Sequence[TrainedAligner],
    params: EvaluateParams,
    task: ClassificationSet,
    labelled: LabelledImages,
    prompt_set: str,
    seed: int,
) -> tuple[list[Row], list[Difference]]:
    """One label of one data set through one prompt set."""
    usable = np.all([aligner.has_image(task.dataset, labelled.ids) for aligner in aligners], axis=0)
    prompts = {name: PromptTable(name) for name in {aligner.spec.prompts for aligner in aligners}}
    tests = {
        repeat: {
            name: _test(task, labelled, usable & (labelled.splits[:, repeat] == "test"), table, prompt_set)
            for name, table in prompts.items()
        }
        for repeat in range(labelled.splits.shape[1])
        if (usable & (labelled.splits[:, repeat] == "test")).any()
    }
    ranks = {
        aligner.name: np.concatenate(
            [
                _ranks(aligner, task.dataset, repeat, by_table[aligner.spec.prompts])
                for repeat, by_table in tests.items()
            ]
        )
        for aligner in aligners
    }
    first = [next(iter(by_table.values())) for by_table in tests.values()]
    candidates = [len(test.prompts) for test in first]
    sizes = [len(test.images) for test in first]
    cohort = Cohort(
        dataset=task.dataset,
        families=np.concatenate([test.families for test in first]),
        repeat=np.repeat(list(tests), sizes),
        candidates=tuple(candidates),
        prompt_set=prompt_set,
        language="en",
    )

    def chance(k: int) -> np.ndarray:
        return np.concatenate(
            [chance_at(np.ones(n, dtype=np.int64), c, k) for n, c in zip(sizes, candidates, strict=True)]
        )

    def hits(k: int) -> dict[str, np.ndarray]:
        return {name: hits_at(found, k) for name, found in ranks.items()}

    measured = [Measured(f"{task.label}_top{k}_accuracy", chance(k), hits(k)) for k in _TOP]
    per_class = np.concatenate([np.array([" ".join(test.prompts[c]) for c in test.classes]) for test in first])
    measured.append(Measured(f"{task.label}_mean_per_class_accuracy", chance(1), hits(1), per_class))
    return report(cohort, measured, params.control, params.bootstrap, seed)


def _test(
    task: ClassificationSet, labelled: LabelledImages, mask: np.ndarray, table: PromptTable, prompt_set: str
) -> ClassificationTest:
    """Test images of one repeat and the classes they are told apart from."""
    pool = labelled.values[mask] if task.label == "concept" else labelled.values
    values = np.unique(pool).tolist()
    texts = table.texts(task.dataset, task.label, values, prompt_set)
    classes = sorted(set(texts))
    class_of = {value: classes.index(ids) for value, ids in zip(values, texts, strict=True)}
    return ClassificationTest(
        images=labelled.ids[mask],
        families=labelled.families[mask],
        classes=np.array([class_of[value] for value in labelled.values[mask]], dtype=np.int64),
        prompts=classes,
    )


def _ranks(aligner: TrainedAligner, dataset: str, repeat: int, test: ClassificationTest) -> np.ndarray:
    """Rank of the right class of each image, (n,) int64."""
    heads = aligner.heads(repeat)
    ids = np.array([identifier for prompts in test.prompts for identifier in prompts])
    classes = np.repeat(np.arange(len(test.prompts)), [len(prompts) for prompts in test.prompts])
    weights = class_vectors(aligner.text_vectors(heads, "prompts", aligner.spec.prompts, ids), classes)
    images = aligner.image_vectors(heads, dataset, test.images)
    return first_hit_ranks(images, weights, np.stack([np.arange(len(images)), test.classes], axis=1))
