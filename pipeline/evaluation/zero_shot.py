"""Images against one vector per class: the classes of a test split, the classifier of their texts, accuracies."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.coded import Coded
from pipeline.config import ClassificationSet
from pipeline.datasets.prompts import NAME_OF
from pipeline.datasets.sample_table import IMAGE, SampleTable
from pipeline.evaluation.cohorts import Cohort, Measured
from pipeline.evaluation.embeddings import TrainedAligner
from pipeline.evaluation.metrics import chance_at, first_hit_ranks, hits_at
from pipeline.evaluation.prompts import PromptTable

TOP = (1, 5)


@dataclass(frozen=True)
class LabelledImages:
    """Images with a label: columns (n,) of strings; `splits` is (n, R).

    `named` (n,) bool says whose class has a name, as every class needs that is told by prompts.
    """

    ids: Coded
    values: Coded
    families: Coded
    splits: Coded
    named: np.ndarray

    @classmethod
    def read(cls, task: ClassificationSet, repeats: int, modality: str = IMAGE) -> "LabelledImages":
        """All images of the data set whose label is not null, or samples of another modality alike.

        Raises:
            DataError: as `SampleTable.read`.
        """
        name = NAME_OF[task.label]
        samples = SampleTable.read(dict.fromkeys((name, task.label, "family")), repeats, modality)
        values = samples.columns[task.label]
        rows = np.flatnonzero((samples.dataset == task.dataset) & (values.codes >= 0))
        values, names = values[rows], samples.columns[name].codes[rows]
        named = np.zeros(len(values.values), dtype=bool)
        named[values.codes[names >= 0]] = True
        ids = Coded(rows.astype(np.int32), samples.image_id)
        return cls(ids, values, samples.columns["family"][rows], samples.splits[rows], named[values.codes])


@dataclass(frozen=True)
class ZeroShotTest:
    """The test items of one repeat, and the candidate classes.

    Attributes:
        images, families: (n,) str.
        classes: (n,) int64, the true class of each image.
        texts: per class the ids of its texts.
        kind: of the class vectors, as `class_vectors` takes it.
    """

    images: np.ndarray
    families: np.ndarray
    classes: np.ndarray
    texts: tuple[tuple[str, ...], ...]
    kind: str = "unit"

    @classmethod
    def of(
        cls, labelled: LabelledImages, mask: np.ndarray, texts: Mapping[str, tuple[str, ...]], kind: str = "unit"
    ) -> "ZeroShotTest":
        """The images at which `mask` (n,) is true; values with the same texts are one class.

        Args:
            texts: value of the label -> ids of its texts; these values are the candidates.
        """
        classes = sorted(set(texts.values()))
        number = {ids: place for place, ids in enumerate(classes)}
        numbers = np.array([number[texts[value]] for value in labelled.values[mask]], dtype=np.int64)
        ids, families = labelled.ids[mask].astype(str), labelled.families[mask].astype(str)
        return cls(ids, families, numbers, tuple(classes), kind)

    @classmethod
    def prompted(
        cls,
        labelled: LabelledImages,
        mask: np.ndarray,
        task: ClassificationSet,
        table: PromptTable,
        prompt_set: str,
        kind: str = "unit",
    ) -> "ZeroShotTest":
        """As `of`, with the prompts of a set as texts. The candidate concepts are those of these images alone.

        Raises:
            DataError: a class has no prompt in that set.
        """
        values = (labelled.values[mask] if task.label == "concept" else labelled.values).distinct()
        texts = table.texts(task.dataset, task.label, values, prompt_set)
        return cls.of(labelled, mask, dict(zip(values, texts, strict=True)), kind)

    @property
    def positives(self) -> np.ndarray:
        """(n, 2) int64: each image with its class."""
        return np.stack([np.arange(len(self.images)), self.classes], axis=1)

    def classifier(self, aligner: TrainedAligner, repeat: int, group: str, dataset: str) -> np.ndarray:
        """Class vectors (C, K) float32.

        Args:
            group, dataset: the store that holds the texts.
        """
        return aligner.class_vectors(repeat, group, dataset, self.texts, self.kind)


def class_ranks(
    aligner: TrainedAligner,
    dataset: str,
    tests: Mapping[int, ZeroShotTest],
    group: str,
    texts: str,
    modality: str = IMAGE,
) -> np.ndarray:
    """Rank of the true class of each image, the repeats one after another: (n,) int64.

    Args:
        dataset: of the images.
        group, texts: group and data set of the store that holds the texts of the classes.
        modality: of what is classified.
    """
    ranks = []
    for repeat, test in tests.items():
        if modality == IMAGE:
            images = aligner.image_vectors(repeat, dataset, test.images)
        else:
            images = aligner.vectors(repeat, modality, dataset, test.images)
        ranks.append(first_hit_ranks(images, test.classifier(aligner, repeat, group, texts), test.positives))
    return np.concatenate(ranks)


def accuracy(
    label: str,
    dataset: str,
    tests: Mapping[int, ZeroShotTest],
    ranks: Mapping[str, np.ndarray],
    language: str,
    prompt_set: str | None = None,
) -> tuple[Cohort, list[Measured]]:
    """The images of all repeats, and top-1 and top-5 accuracy on them.

    Args:
        ranks: per aligner (n,) int64, as `class_ranks` gives them.
    """
    families = {repeat: test.families for repeat, test in tests.items()}
    candidates = [len(test.texts) for test in tests.values()]
    cohort = Cohort.of_repeats(dataset, families, candidates, prompt_set=prompt_set, language=language)
    measured = []
    for k in TOP:
        frequent = np.concatenate([_most_frequent(test.classes, k) for test in tests.values()])
        chance = [chance_at(np.ones(len(t.images), dtype=np.int64), len(t.texts), k) for t in tests.values()]
        outcomes = {name: hits_at(by_image, k) for name, by_image in ranks.items()}
        metric = f"{label}_top{k}_accuracy"
        measured.append(Measured(metric, np.concatenate(chance), outcomes, most_frequent=frequent))
    return cohort, measured


def _most_frequent(classes: np.ndarray, k: int) -> np.ndarray:
    """1.0 for the images (n,) of the k classes with most of them, else 0.0; of equals the first."""
    numbers, counts = np.unique(classes, return_counts=True)
    return np.isin(classes, numbers[np.argsort(-counts, kind="stable")[:k]]).astype(np.float64)
