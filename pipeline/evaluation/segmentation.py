"""Zero-shot segmentation of composed scenes: every patch against every class, interpolated to the exact masks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.config import CLASSNAMES, EvaluateParams, SegmentationParams
from pipeline.datasets.prompts import ENGLISH
from pipeline.datasets.scenes import Scenes, read_scenes
from pipeline.evaluation.area_examples import segmentation_examples
from pipeline.evaluation.cohorts import Cohort
from pipeline.evaluation.dense import PatchMethod, methods_of, patch_classifier
from pipeline.evaluation.embeddings import TrainedAligner
from pipeline.evaluation.examples import showcase
from pipeline.evaluation.findings import Findings
from pipeline.evaluation.overlap import (
    Measure,
    Overlap,
    count_overlap,
    mean_iou,
    pixel_accuracy,
)
from pipeline.evaluation.pixels import PatchCells, best_class, locate
from pipeline.evaluation.prompts import PromptTable
from pipeline.evaluation.results import Evaluated
from pipeline.evaluation.scenes import GROUP, SceneImages
from pipeline.evaluation.targets import Classes, HeldOutPixels, Targets
from pipeline.paths import index_folder

PROTOCOL = (
    "Composed scenes, not photographs: cut-outs on a plain background with exact masks. Per repeat, the pixels of "
    "those objects count whose concept family is in the test split; background and other objects are void. Each patch "
    "token goes through the aligner's own projector of local tokens, which saw no mask; in rows that end in "
    "`-mask-supervised`, through a dense head fitted to the exact masks of train objects of other composed scenes; in "
    "rows that end in `-caption-supervised`, through one fitted to captions of the train objects of these scenes, "
    "without masks. Rows are compared with rows of the same method. Its cosines with one vector per class, the mean of "
    "the unit vectors of the prompts brought back to unit length, are interpolated bilinearly to the pixels, and the "
    "highest wins. In other languages than English a class is its bare translated name. Candidates are all classes of "
    "the label in the data set, trained ones included. Intersections and unions are summed over the scenes of all "
    "repeats; mIoU is the mean over the classes with test pixels. Chance draws a class for each pixel evenly: expected "
    "intersection over expected union. Intervals resample concept families with all their pixels, and repeats where "
    "they differ by more; differences are paired by pixel. A centre crop of the encoder's preprocessing is taken into "
    "account: pixels beyond it take the nearest patch."
)
Located = tuple[np.ndarray, PatchCells]
Place = tuple[int, tuple[int, int], float]  # repeat, patch grid and visible share: aligners mostly share them
_MEASURES: dict[str, Measure] = {"mIoU": mean_iou, "pixel_accuracy": pixel_accuracy}


def evaluate_segmentation(
    aligners: Sequence[TrainedAligner], task: SegmentationParams, params: EvaluateParams, repeats: int, seed: int
) -> Evaluated:
    """Mean IoU and pixel accuracy of every aligner that has a dense view, on composed scenes.

    Raises:
        PermafrostError: tables, masks, stores or heads are missing or do not fit each other.
    """
    findings = Findings(params, seed)
    dense = [aligner for aligner in aligners if aligner.spec.evaluation.dense]
    findings.left_out += [
        f"{a.name}: no dense view (aligners.{a.name}.evaluation.dense)" for a in aligners if a not in dense
    ]
    scenes = read_scenes(index_folder(GROUP, task.scenes))
    images = {a.name: SceneImages(a, str(a.spec.evaluation.dense), task.scenes) for a in dense} if len(scenes) else {}
    usable = np.ones(len(scenes), dtype=bool)
    for seen in images.values():
        usable &= seen.servable(scenes.ids)
    examples: list[dict[str, Any]] = []
    methods = [method for aligner in dense for method in methods_of(aligner)]
    for labels in task.classes:
        targets = Targets.of(scenes, usable, labels, repeats) if images else None
        tests = targets.tests() if targets else {}
        if targets is not None and targets.unnamed:
            findings.left_out.append(
                f"{labels.dataset} by {labels.label}: {targets.unnamed} objects of the test split, whose class has no "
                "name and so no prompt"
            )
        if targets is None or not tests:
            reason = "no object in the test split of any repeat" if images else "no aligner has a dense view"
            reason = reason if len(scenes) else "no scene was composed"
            if targets is None or not targets.unnamed:
                findings.left_out.append(f"{labels.dataset} by {labels.label}: {reason}")
            continue
        table = PromptTable(CLASSNAMES)
        located: dict[Place, Located] = {}
        languages = {
            language: targets.classes(table, task.prompt_set, language) for language in (ENGLISH, *labels.languages)
        }
        maps = label_objects(methods, images, scenes, tests, languages, located)
        for language, classes in languages.items():
            overlaps = {
                method.name: overlap_of(targets.families, tests, maps[language][method.name], classes)
                for method in methods
            }
            _report(findings, targets, tests, overlaps, task.prompt_set, language)
            shown = showcase(dense, params)
            if not examples and shown is not None and 0 in tests:
                predicted = maps[language][shown.name][0]
                seen_in = (task.scenes, scenes)
                examples = segmentation_examples(*seen_in, labels, tests[0], predicted, classes, params.examples)
    return findings.evaluated("segmentation", PROTOCOL, "object", examples)


def label_objects(
    methods: Sequence[PatchMethod],
    images: Mapping[str, SceneImages],
    scenes: Scenes,
    tests: Mapping[int, HeldOutPixels],
    classes: Mapping[str, Classes],
    located: dict[Place, Located],
) -> dict[str, dict[str, dict[int, np.ndarray]]]:
    """The predicted class of each held-out pixel, (n,) unsigned, by language, method and repeat.

    Args:
        images: the scenes through each aligner.
        classes: by language, of one label; the patches are projected once for all of them.
        located: where the pixels lie, by place; what is not in it is added.
    """
    maps: dict[str, dict[str, dict[int, np.ndarray]]] = {
        language: {method.name: {} for method in methods} for language in classes
    }
    for repeat, test in tests.items():
        for method in methods:
            seen = images[method.aligner.name]
            place = (repeat, seen.patch_grid, seen.share)
            if place not in located:
                located[place] = _locate(test, scenes.instances.shape[-1], *place[1:])
            needed, cells = located[place]
            patches = method.patch_vectors(repeat, seen.chosen_patches(repeat, scenes.ids, needed)[:, None])[:, 0]
            for language, of_language in classes.items():
                weights = patch_classifier(method, repeat, ("prompts", CLASSNAMES), of_language.prompts, "unit")
                maps[language][method.name][repeat] = best_class(patches @ weights.T, cells)
    return maps


def _locate(test: HeldOutPixels, size: int, patch_grid: tuple[int, int], share: float) -> Located:
    """The patches that the test pixels need, and where the pixels lie among them."""
    cells = locate(test.scenes, test.rows, test.columns, size, patch_grid, share)
    needed, corners = np.unique(cells.corners, return_inverse=True)
    return needed, cells.renumbered(corners.reshape(cells.corners.shape))


def overlap_of(
    families: np.ndarray, tests: Mapping[int, HeldOutPixels], maps: Mapping[int, np.ndarray], classes: Classes
) -> Overlap:
    """Hits, truth and predicted pixels of one method by repeat, family and class."""
    shape = (len(families), len(classes.prompts))
    counts = [
        count_overlap(test.families, classes.of_value[test.values], maps[repeat], shape)
        for repeat, test in tests.items()
    ]
    hits, truth, predicted = (np.stack(parts) for parts in zip(*counts, strict=True))
    return Overlap(hits, truth, predicted)


def _report(
    findings: Findings,
    targets: Targets,
    tests: Mapping[int, HeldOutPixels],
    overlaps: Mapping[str, Overlap],
    prompt_set: str,
    language: str,
) -> None:
    """Add rows and differences of every measure."""
    classes = next(iter(overlaps.values())).truth.shape[-1]
    cohort = Cohort(
        dataset=targets.task.dataset,
        families=targets.families,
        repeat=np.array(list(tests)),
        candidates=(classes,) * len(tests),
        prompt_set=prompt_set,
        language=language,
    )
    objects = sum(test.objects for test in tests.values())
    measures = {f"{targets.task.label}_{name}": measure for name, measure in _MEASURES.items()}
    findings.measure_areas(cohort, measures, overlaps, objects)
