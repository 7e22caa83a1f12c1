"""Data sets with label maps through aligners, against a slow way that shares no code with it."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pipeline.alignment.dense import DenseHead, fit_dense_head
from pipeline.config import (
    CaptionHeadSpec,
    DenseHeadSpec,
    EvaluationViews,
    SegmentationBenchmark,
    SegmentationBenchmarksParams,
)
from pipeline.datasets.segmentation import BACKGROUND, LabelledPicture, SegmentationSet
from pipeline.errors import DataError
from pipeline.evaluation import segmentation_benchmarks as module
from pipeline.evaluation.embeddings import TrainedAligner
from pipeline.evaluation.results import Evaluated
from pipeline.evaluation.segmentation import evaluate_segmentation
from pipeline.evaluation.segmentation_benchmarks import evaluate_segmentation_benchmarks
from tests.evaluation.dense_world import DenseWorld
from tests.evaluation.scene_world import PARAMS, REPEATS, SEGMENTATION, SIDE

VIEWS = {"default": "eye-dense", "control": "blind-dense"}
THRESHOLD = 0.0502  # twenty classes: their highest probability is a little above a twentieth


def benchmark(**options: Any) -> SegmentationBenchmark:
    return SegmentationBenchmark(**{"dataset": "voc", "views": VIEWS, "prompt_set": "both", **options})


BENCHMARKS = (
    benchmark(languages=("en", "de")),
    benchmark(background=THRESHOLD),
    benchmark(dataset="voc-whole", protocol="freeze-align"),
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> DenseWorld:
    world = DenseWorld(tmp_path_factory.mktemp("maps"))
    world.write().write_label_maps()
    return world


@pytest.fixture
def world(shared: DenseWorld, monkeypatch: pytest.MonkeyPatch) -> DenseWorld:
    monkeypatch.chdir(shared.root)
    return shared


def evaluate(world: DenseWorld, *benchmarks: SegmentationBenchmark, aligners: Any = None) -> Evaluated:
    task = SegmentationBenchmarksParams(sets=benchmarks)
    return evaluate_segmentation_benchmarks(aligners or world.aligners(), task, PARAMS, REPEATS, 0)


@pytest.fixture(scope="module")
def evaluated(shared: DenseWorld) -> Evaluated:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(shared.root)
        return evaluate(shared, *BENCHMARKS)


def slow_classes(world: DenseWorld, aligner: str, repeat: int, dataset: str, language: str) -> torch.Tensor:
    head = world.heads[aligner, repeat]
    found = []
    for value in range(1, 21):
        vectors = []
        for identifier in world.prompt_ids[dataset, str(value), language]:  # type: ignore[index]
            text = torch.from_numpy(world.prompt_vectors[identifier]).float()[None]
            vectors.append(F.normalize(head.text_global(head.text_token(text)), dim=-1)[0])
        found.append(F.normalize(torch.stack(vectors).mean(dim=0), dim=0))
    return torch.stack(found)


@torch.no_grad()
def slow_iou(
    world: DenseWorld, aligner: str, view: str, language: str, background: float | None
) -> tuple[float, float]:
    """Mean IoU and pixel accuracy, summed over pictures and repeats pixel by pixel."""
    data = SegmentationSet(world.root / "data/index/pairs/voc")
    hits, either = np.zeros(21), np.zeros(21)
    right = total = 0
    for repeat in range(REPEATS):
        head, classes = world.heads[aligner, repeat], slow_classes(world, aligner, repeat, "voc", language)
        for picture in data.pictures:
            width, height = picture.size
            summed, count = torch.zeros(20, height, width), torch.zeros(height, width)
            for row, (left, top, r, b) in zip(picture.rows, picture.boxes, strict=True):
                patch = torch.from_numpy(world.window_patch[f"voc {view}"][row]).float()
                cosines = F.normalize(head.vision_local(patch), dim=-1) @ classes.T
                grid = cosines.T.reshape(1, 20, SIDE, SIDE)
                summed[:, top:b, left:r] += F.interpolate(grid, (b - top, r - left), mode="bilinear")[0]
                count[top:b, left:r] += 1
            mean = summed / count
            predicted = mean.argmax(dim=0).numpy()
            truth = data.labels(picture).copy()
            if background is not None:
                likely = (mean * head.scale()).softmax(dim=0).amax(dim=0).numpy()
                predicted[likely < background] = 20
                truth[truth == -2] = 20
            counted = truth >= 0
            for number in range(21):
                true, taken = (truth == number) & counted, (predicted == number) & counted
                hits[number] += (true & taken).sum()
                either[number] += (true | taken).sum()
            right += (predicted == truth)[counted].sum()
            total += counted.sum()
    return float((hits[either > 0] / either[either > 0]).mean()), right / total


@pytest.mark.parametrize(("aligner", "view"), [("default", "eye"), ("control", "blind")])
@pytest.mark.parametrize(("language", "background"), [("en", None), ("de", None), ("en", THRESHOLD)])
def test_standard_figures_equal_the_slow_way(
    world: DenseWorld, evaluated: Evaluated, aligner: str, view: str, language: str, background: float | None
) -> None:
    iou, accuracy = slow_iou(world, aligner, view, language, background)
    suffix = "" if background is None else "_with_background"
    rows = {r.metric: r for r in evaluated.result.rows if (r.aligner, r.language) == (aligner, language)}
    assert rows[f"mIoU{suffix}"].value == pytest.approx(iou, abs=2e-3)
    assert rows[f"pixel_accuracy{suffix}"].value == pytest.approx(accuracy, abs=2e-3)
    row = rows[f"mIoU{suffix}"]
    assert (row.n_items, row.n_families, row.n_candidates, row.repeats) == (3, 3, 20 + bool(suffix), REPEATS)
    assert rows[f"pixel_accuracy{suffix}"].chance == pytest.approx(1 / row.n_candidates)


def test_freeze_aligns_own_figure_stands_apart(world: DenseWorld, evaluated: Evaluated) -> None:
    rows = [row for row in evaluated.result.rows if row.dataset == "voc-whole"]
    assert {row.metric for row in rows} == {"freeze_align_IoU"}
    assert "is not a mean IoU" in evaluated.result.protocol
    assert {(d.aligner, d.versus) for d in evaluated.result.differences} == {("default", "control")}
    data, by_class = SegmentationSet(world.root / "data/index/pairs/voc-whole"), {}
    from tests.evaluation import test_sliding

    for repeat in range(REPEATS):
        head = world.heads["default", repeat]
        with torch.no_grad():
            classes = slow_classes(world, "default", repeat, "voc-whole", "en")
            for picture in data.pictures:
                patch = torch.from_numpy(world.window_patch["voc-whole eye"][picture.rows[0]]).float()
                values = (head.vision_local(patch) @ classes.T).numpy()
                with pytest.MonkeyPatch.context() as patched:
                    patched.setattr(test_sliding, "GRID", (SIDE, SIDE))
                    for number, iou in test_sliding.literal(values, data.labels(picture)).items():
                        by_class.setdefault(number, []).append(iou)
    expected = np.mean([np.mean(found) for found in by_class.values()])
    assert next(row for row in rows if row.aligner == "default").value == pytest.approx(expected, abs=1e-3)


class Unlabelled(SegmentationSet):
    """Label maps of which only that of the first picture has a class."""

    empty = frozenset({1, 2})

    def labels(self, picture: LabelledPicture) -> np.ndarray:
        found = super().labels(picture)
        numbers = {one.image_id: number for number, one in enumerate(self.pictures)}
        return np.full_like(found, BACKGROUND) if numbers[picture.image_id] in self.empty else found


class Blank(Unlabelled):
    """Label maps without a class."""

    empty = frozenset({0, 1, 2})


@pytest.mark.parametrize(("dataset", "protocol"), [("voc", "standard"), ("voc-whole", "freeze-align")])
def test_pictures_without_a_class_count_nowhere(
    world: DenseWorld, dataset: str, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = evaluate(world, benchmark(dataset=dataset, protocol=protocol)).result
    monkeypatch.setattr(module, "SegmentationSet", Unlabelled)
    found = evaluate(world, benchmark(dataset=dataset, protocol=protocol)).result
    assert {row.n_families for row in whole.rows} == {3}
    assert {row.n_families for row in found.rows} == {1}
    assert all(np.isfinite(row.value) for row in found.rows)
    monkeypatch.setattr(module, "SegmentationSet", Blank)
    nothing = evaluate(world, benchmark(dataset=dataset, protocol=protocol)).result
    assert not nothing.rows
    assert nothing.left_out == (f"{dataset}: no pixel of a class",)


def test_freeze_aligns_protocol_needs_whole_pictures(world: DenseWorld) -> None:
    with pytest.raises(DataError, match="`windows: null`"):
        evaluate(world, benchmark(protocol="freeze-align"))


def test_a_dense_head_stands_beside_the_projector(world: DenseWorld) -> None:
    fit_dense_head("own", DenseHeadSpec(image="eye-dense", text="words", scenes="training"), REPEATS)
    spec = world.specs["default"].model_copy(
        update={"evaluation": EvaluationViews(dense="eye-dense", dense_head="own")}
    )
    dense = TrainedAligner("default", spec, REPEATS, torch.device("cpu"))
    aligners = [dense, *world.aligners()[1:]]
    plain, both = evaluate(world, benchmark()), evaluate(world, benchmark(), aligners=aligners)

    def rows(found: Evaluated) -> dict[tuple[str, str], float]:
        return {(row.aligner, row.metric): row.value for row in found.result.rows}

    assert {name for name, _ in rows(both)} == {"default", "default-mask-supervised", "control"}
    assert rows(both)["default", "mIoU"] == rows(plain)["default", "mIoU"]
    assert rows(both)["default-mask-supervised", "mIoU"] != rows(plain)["default", "mIoU"]
    assert {(d.aligner, d.versus) for d in both.result.differences} == {("default", "control")}
    scenes = evaluate_segmentation(aligners, SEGMENTATION, PARAMS, REPEATS, 0).result
    assert {row.aligner for row in scenes.rows} == {"default", "default-mask-supervised", "control"}
    assert {(d.aligner, d.versus) for d in scenes.differences} == {("default", "control")}
    head = DenseHead.from_folder("own", 0)
    vectors = dense.text_features("prompts", "classnames", np.array([*world.prompt_vectors][:2]))
    assert head.embed_text(vectors).shape == (2, vectors.shape[1])


def test_a_head_from_captions_has_a_row_of_its_own(world: DenseWorld) -> None:
    views = {"image": "eye-dense", "text": "words", "scenes": "training"}
    fit_dense_head("told", CaptionHeadSpec(**views, supervision="captions"), REPEATS)
    evaluation = EvaluationViews(dense="eye-dense", caption_head="told")
    spec = world.specs["default"].model_copy(update={"evaluation": evaluation})
    told = TrainedAligner("default", spec, REPEATS, torch.device("cpu"))
    aligners = [told, *world.aligners()[1:]]
    plain, both = evaluate(world, benchmark()).result, evaluate(world, benchmark(), aligners=aligners).result
    before, after = ({r.aligner: r.value for r in found.rows if r.metric == "mIoU"} for found in (plain, both))
    assert after.keys() == {"default", "default-caption-supervised", "control"}
    assert after["default"] == before["default"] != after["default-caption-supervised"]
    scenes = evaluate_segmentation(aligners, SEGMENTATION, PARAMS, REPEATS, 0).result
    for found in (both, scenes):
        compared = {(d.aligner, d.versus) for d in found.differences}
        assert ("default-caption-supervised", "default") in compared, "neither has seen a mask"
        assert ("default", "default-caption-supervised") not in compared
