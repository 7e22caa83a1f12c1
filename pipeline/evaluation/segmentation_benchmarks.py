"""Zero-shot segmentation of pictures with label maps, by the standard protocol and by Freeze-Align's own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.config import CLASSNAMES, EvaluateParams, SegmentationBenchmark, SegmentationBenchmarksParams
from pipeline.datasets.prompts import SEGMENT
from pipeline.datasets.segmentation import BACKGROUND, LabelledPicture, SegmentationSet
from pipeline.errors import DataError
from pipeline.evaluation.cohorts import Cohort, Measured
from pipeline.evaluation.dense import PatchMethod, methods_of, patch_classifier
from pipeline.evaluation.embeddings import TrainedAligner
from pipeline.evaluation.findings import Findings
from pipeline.evaluation.freeze_align_iou import present_class_ious
from pipeline.evaluation.overlap import (
    Overlap,
    count_overlap,
    mean_iou_of_all,
    pixel_accuracy,
)
from pipeline.evaluation.prompts import PromptTable, protocol_text
from pipeline.evaluation.results import Evaluated
from pipeline.evaluation.scenes import DenseStore
from pipeline.evaluation.sliding import label_pixels
from pipeline.paths import index_folder

PROTOCOL = (
    "Pictures with label maps. Standard: each patch token of each window against one vector per class, the mean of the "
    "unit vectors of its prompts brought back to unit length; cosines are interpolated bilinearly to the pixels, "
    "averaged where windows overlap, and the highest of all classes of the data set wins. Void pixels never count. "
    "mIoU sums intersections and unions over the data set; without a background threshold, background pixels do not "
    "count either (VOC20, Context59); with one (metric mIoU_with_background: VOC21, Context60) a pixel whose highest "
    "softmax probability is below it is background, which is a class. Chance draws a class for each pixel evenly. "
    "freeze_align_IoU is not a mean IoU: per picture, only the classes that are present in it are asked for, each map "
    "is stretched to 0 to 1 within the picture and cut at 0.4; IoUs are averaged over pictures, then over classes. Its "
    "chance is a map of even random numbers. Repeats are initialisations and splits of the training data; intervals "
    "resample pictures, differences are paired by picture."
)
PLACE = "pairs"  # the group of data sets with label maps


def evaluate_segmentation_benchmarks(
    aligners: Sequence[TrainedAligner],
    task: SegmentationBenchmarksParams,
    params: EvaluateParams,
    repeats: int,
    seed: int,
) -> Evaluated:
    """Every benchmark of `task.sets`, in each of its languages.

    Raises:
        PermafrostError: tables, label maps, stores or heads are missing or do not fit each other.
    """
    findings = Findings(params, seed)
    by_name = {aligner.name: aligner for aligner in aligners}
    for benchmark in task.sets:
        data = SegmentationSet(index_folder(PLACE, benchmark.dataset))
        if benchmark.protocol == "freeze-align" and not data.whole:
            raise DataError(
                f"Protocol freeze-align sees whole pictures; {benchmark.dataset} was indexed in windows. Give it an "
                "entry under `datasets` of its own with `windows: null`, and a store through a view with `fit: whole`."
            )
        stores = {
            name: DenseStore(by_name[name], view, PLACE, benchmark.dataset) for name, view in benchmark.views.items()
        }
        usable = [p for p in data.pictures if all(store.servable(p.rows).all() for store in stores.values())]
        if left := len(data.pictures) - len(usable):
            findings.left_out.append(f"{benchmark.dataset}: {left} pictures could not be encoded")
        if not usable:
            continue
        pictures = tuple(sorted(usable, key=lambda picture: picture.image_id))
        methods = [method for name in benchmark.views for method in methods_of(by_name[name])]
        for language in benchmark.languages:
            shown = _Task(data, pictures, stores, benchmark, language, repeats, task.class_vectors)
            if benchmark.protocol == "standard":
                _report_overlap(findings, shown, {m.name: shown.overlap(m) for m in methods})
            else:
                _report_ious(findings, shown, {m.name: shown.present_ious(m) for m in methods})
    return findings.evaluated("segmentation_benchmarks", protocol_text(PROTOCOL, task.class_vectors), "image")


@dataclass(frozen=True)
class _Task:
    """One benchmark in one language; pictures are sorted by id."""

    data: SegmentationSet
    pictures: tuple[LabelledPicture, ...]
    stores: Mapping[str, DenseStore]
    benchmark: SegmentationBenchmark
    language: str
    repeats: int
    class_kind: str

    @property
    def candidates(self) -> int:
        """How many classes a pixel may take."""
        return len(self.data.values) + (self.benchmark.background is not None)

    @property
    def ids(self) -> np.ndarray:
        """(N,) str, the id of each picture."""
        return np.array([picture.image_id for picture in self.pictures], dtype=str)

    def cohort(self, families: np.ndarray, repeat: np.ndarray) -> Cohort:
        """Items of these pictures (as clusters) and repeats."""
        return Cohort(
            dataset=self.benchmark.dataset,
            families=families,
            repeat=repeat,
            candidates=(self.candidates,) * self.repeats,
            prompt_set=self.benchmark.prompt_set,
            language=self.language,
        )

    def classifiers(self, method: PatchMethod) -> list[np.ndarray]:
        """One vector per class, (C, K), of each repeat."""
        values = [str(value) for value in self.data.values.tolist()]
        of = (self.benchmark.dataset, SEGMENT, values, self.benchmark.prompt_set, self.language)
        texts = PromptTable(CLASSNAMES).texts(*of)
        place = ("prompts", CLASSNAMES)
        return [patch_classifier(method, repeat, place, texts, self.class_kind) for repeat in range(self.repeats)]

    def overlap(self, method: PatchMethod) -> Overlap:
        """Pixels by repeat, picture and class under the standard protocol."""
        store, weights = self.stores[method.aligner.name], self.classifiers(method)
        shape = (self.repeats, len(self.pictures), self.candidates)
        counts = [np.zeros(shape) for _ in range(3)]
        for number, picture in enumerate(self.pictures):
            truth = self.data.labels(picture)
            if self.benchmark.background is not None:
                truth = np.where(truth == BACKGROUND, len(self.data.values), truth)
            counted = truth >= 0
            patch = store.patches(picture.rows)
            one = np.zeros(int(counted.sum()), dtype=np.int64)
            for repeat in range(self.repeats):
                scores = method.patch_vectors(repeat, patch) @ weights[repeat].T
                where = (store.patch_grid, picture.boxes, picture.size, store.share)
                labels = label_pixels(scores, *where, self.benchmark.background, method.scale(repeat))
                of_picture = count_overlap(one, truth[counted], labels[counted], (1, self.candidates))
                for count, new in zip(counts, of_picture, strict=True):
                    count[repeat, number] = new[0]
        return Overlap(*counts)

    def present_ious(self, method: PatchMethod) -> list[tuple[int, str, int, float, float]]:
        """(repeat, picture, class, IoU, chance) of each class in each picture under Freeze-Align's own protocol."""
        store, weights = self.stores[method.aligner.name], self.classifiers(method)
        if store.share != 1:
            raise DataError(
                f"Protocol freeze-align sees whole pictures; view {self.benchmark.views[method.aligner.name]!r} crops "
                "them. Set `fit: whole` for it in params.yaml and run: dvc repro"
            )
        items = []
        for picture in self.pictures:
            labels, patch = self.data.labels(picture), store.patches(picture.rows)
            for repeat in range(self.repeats):
                scores = method.patch_vectors(repeat, patch, unit=False)[0] @ weights[repeat].T
                for item in zip(*present_class_ious(scores, store.patch_grid, labels), strict=True):
                    number, iou, chance = item
                    items.append((repeat, picture.image_id, int(number), float(iou), float(chance)))
        return items


def _report_overlap(findings: Findings, task: _Task, overlaps: Mapping[str, Overlap]) -> None:
    """Rows and differences of mIoU and pixel accuracy."""
    labelled = np.asarray(next(iter(overlaps.values())).truth.any(axis=(0, 2)))
    if not labelled.any():
        findings.left_out.append(f"{task.benchmark.dataset}: no pixel of a class")
        return
    # a picture without a class adds to no figure, and a resample of such pictures alone would have none
    overlaps = {name: overlap.of_families(labelled) for name, overlap in overlaps.items()}
    cohort = task.cohort(task.ids[labelled], np.arange(task.repeats))
    suffix = "" if task.benchmark.background is None else "_with_background"
    measures = {f"mIoU{suffix}": mean_iou_of_all, f"pixel_accuracy{suffix}": pixel_accuracy}
    findings.measure_areas(cohort, measures, overlaps, int(labelled.sum()))


def _report_ious(
    findings: Findings, task: _Task, items: Mapping[str, list[tuple[int, str, int, float, float]]]
) -> None:
    """Rows and differences of Freeze-Align's figure: the mean over pictures, then over classes."""
    if not next(iter(items.values())):
        findings.left_out.append(f"{task.benchmark.dataset}: no pixel of a class")
        return
    repeat, picture, number, _, chance = zip(*next(iter(items.values())), strict=True)
    outcomes = {name: np.array([iou for *_, iou, _ in of_method]) for name, of_method in items.items()}
    cohort = task.cohort(np.array(picture, dtype=str), np.array(repeat, dtype=np.int64))
    groups = np.array(number).astype(str)
    findings.measure(cohort, [Measured("freeze_align_IoU", np.array(chance), outcomes, groups)])
