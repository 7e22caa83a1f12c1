"""Mean IoU and interpolation against slow and independent ways."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pipeline.evaluation.overlap import (
    Overlap,
    OverlapBootstrap,
    chance_of,
    count_overlap,
    mean_iou,
    most_frequent_of,
    pixel_accuracy,
)
from pipeline.evaluation.pixels import best_class, locate
from pipeline.features.visible import seen_share, visible_share


def slow_iou(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Over sets of pixels, class by class."""
    values = []
    for number in sorted(set(truth.tolist())):
        true = {i for i, value in enumerate(truth) if value == number}
        taken = {i for i, value in enumerate(predicted) if value == number}
        values.append(len(true & taken) / len(true | taken))
    return sum(values) / len(values)


@pytest.mark.parametrize("seed", range(5))
def test_mean_iou_of_random_maps(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, predicted = rng.integers(0, 5, 300), rng.integers(0, 7, 300)  # two classes are never true
    families = rng.integers(0, 4, 300)
    counts = count_overlap(families, truth, predicted, (4, 8))
    overlap = Overlap(*(count[None] for count in counts))
    names = np.array(["a", "b", "c", "d"])
    assert OverlapBootstrap(mean_iou, names, 100, 0).value(overlap) == pytest.approx(slow_iou(truth, predicted))
    accuracy = OverlapBootstrap(pixel_accuracy, names, 100, 0).value(overlap)
    assert accuracy == pytest.approx((truth == predicted).mean())


def test_worked_example() -> None:
    """Truth a a b b, predicted a b b c: IoU of a is 1/2, of b 1/3; c has no true pixel."""
    counts = count_overlap(np.zeros(4, int), np.array([0, 0, 1, 1]), np.array([0, 1, 1, 2]), (1, 3))
    assert mean_iou(*(count[0] for count in counts)) == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert pixel_accuracy(*(count[0] for count in counts)) == 0.5


@pytest.mark.parametrize("measure", [mean_iou, pixel_accuracy])
def test_draws_agree_with_a_loop_over_resampled_pixels(measure: object) -> None:
    rng = np.random.default_rng(3)
    truth, predicted, families = rng.integers(0, 4, 200), rng.integers(0, 5, 200), rng.integers(0, 6, 200)
    halves = [slice(0, 90), slice(90, 200)]  # two repeats
    counts = [count_overlap(families[h], truth[h], predicted[h], (6, 5)) for h in halves]
    overlap = Overlap(*(np.stack(parts) for parts in zip(*counts, strict=True)))
    boot = OverlapBootstrap(measure, np.array(list("abcdef")), 40, 9)  # type: ignore[arg-type]
    times = np.random.default_rng(9).multinomial(6, np.full(6, 1 / 6), size=40)
    for drawn, value in zip(times, boot.draws(overlap), strict=True):
        pixels = np.concatenate([np.flatnonzero(families == f) for f in range(6) for _ in range(drawn[f])])
        slow = slow_iou(truth[pixels], predicted[pixels]) if measure is mean_iou else None
        expected = (truth == predicted)[pixels].mean() if slow is None else slow
        assert value == pytest.approx(expected)
    assert boot.value(overlap.of_repeat(1)) != boot.value(overlap.of_repeat(0))


def test_a_paired_difference_uses_the_same_draws() -> None:
    rng = np.random.default_rng(4)
    truth, families = rng.integers(0, 3, 400), rng.integers(0, 8, 400)
    good = np.where(rng.random(400) < 0.8, truth, 2)
    counts = count_overlap(families, truth, good, (8, 3))
    overlap = Overlap(*(count[None] for count in counts))
    boot = OverlapBootstrap(mean_iou, np.array(list("abcdefgh")), 200, 0)
    compared = boot.compare(overlap, overlap)
    assert (compared.difference, compared.interval) == (0, (0, 0))
    poor = count_overlap(families, truth, rng.integers(0, 3, 400), (8, 3))
    better = boot.compare(overlap, Overlap(*(count[None] for count in poor)))
    assert better.excludes_zero
    assert better.difference > 0


def test_repeats_are_told_apart_as_if_each_stood_alone() -> None:
    rng = np.random.default_rng(12)
    counts = [count_overlap(*(rng.integers(0, top, 90) for top in (6, 4, 5)), (6, 5)) for _ in range(2)]
    empty = tuple(np.zeros((6, 5)) for _ in range(3))
    overlap = Overlap(*(np.stack(parts) for parts in zip(*counts, empty, strict=True)))
    boot = OverlapBootstrap(mean_iou, np.array(list("abcdef")), 30, 0)
    found = boot.repeats(overlap)
    assert found is not None
    assert found.shares.tolist() == [0.5, 0.5], "a repeat without a pixel is left out"
    for repeat in range(2):
        alone = overlap.of_repeat(repeat)
        assert found.values[repeat] == pytest.approx(boot.value(alone))
        assert found.draws[:, repeat] == pytest.approx(boot.draws(alone))
    assert boot.repeats(overlap.of_repeat(0)) is None


def test_taking_every_pixel_for_the_most_frequent_class() -> None:
    """Of 5, 3 and 2 pixels: 5 of 10 are right; IoU of the first is 5/10 and of the others 0."""
    pixels = np.array([5.0, 3.0, 2.0])
    assert most_frequent_of(pixel_accuracy, pixels) == 0.5
    assert most_frequent_of(mean_iou, pixels) == pytest.approx(0.5 / 3)


def test_families_must_be_sorted() -> None:
    with pytest.raises(ValueError, match="sorted"):
        OverlapBootstrap(mean_iou, np.array(["b", "a"]), 100, 0)


def test_chance_is_what_random_answers_give() -> None:
    rng = np.random.default_rng(5)
    truth = rng.choice(4, 4000, p=[0.5, 0.3, 0.15, 0.05])
    random_values = []
    for _ in range(200):
        hits, true, taken = count_overlap(np.zeros(4000, int), truth, rng.integers(0, 6, 4000), (1, 6))
        random_values.append(mean_iou(hits[0], true[0], taken[0]))
    counted = np.bincount(truth, minlength=6).astype(float)
    assert chance_of(mean_iou, counted, 6) == pytest.approx(np.mean(random_values), rel=0.01)
    assert chance_of(pixel_accuracy, counted, 6) == pytest.approx(1 / 6)


@pytest.mark.parametrize(("classes", "grid"), [(3, (4, 4)), (40, (4, 6)), (200, (5, 5))])
def test_best_class_equals_dense_bilinear_interpolation(classes: int, grid: tuple[int, int]) -> None:
    rng = np.random.default_rng(classes)
    scores = rng.normal(size=(3 * grid[0] * grid[1], classes)).astype(np.float32)
    scores *= rng.uniform(0.05, 1, size=(len(scores), 1)).astype(np.float32)  # some cells are close, some are clear
    maps = torch.from_numpy(scores).reshape(3, *grid, classes).permute(0, 3, 1, 2)
    dense = F.interpolate(maps, size=(33, 33), mode="bilinear", align_corners=False).argmax(dim=1).numpy()
    pictures, rows, columns = (rng.random((3, 33, 33)) < 0.4).nonzero()
    found = best_class(scores, locate(pictures, rows, columns, 33, grid, 1.0))
    assert (found == dense[pictures, rows, columns]).mean() > 0.999  # but for roundings


def test_a_centre_crop_shifts_the_grid() -> None:
    """A grid over the inner 7/8 of 64 pixels is one of 56 pixels, its edge carried on to the border."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(16, 30)).astype(np.float32)
    maps = torch.from_numpy(scores).reshape(1, 4, 4, 30).permute(0, 3, 1, 2)
    inner = F.interpolate(maps, size=(56, 56), mode="bilinear", align_corners=False)
    dense = F.pad(inner, (4, 4, 4, 4), mode="replicate").argmax(dim=1)[0].numpy()
    rows, columns = (part.ravel() for part in np.indices((64, 64)))
    found = best_class(scores, locate(np.zeros(64 * 64, int), rows, columns, 64, (4, 4), 7 / 8))
    assert (found.reshape(64, 64) == dense).mean() > 0.999


def test_equal_scores_go_to_the_first_class() -> None:
    cells = locate(np.zeros(9, int), np.repeat([0, 5, 9], 3), np.tile([0, 5, 9], 3), 10, (2, 2), 1.0)
    assert best_class(np.ones((4, 50), np.float32), cells).tolist() == [0] * 9


def test_visible_share() -> None:
    assert visible_share({"resize": {"shortest_edge": 256}, "crop": {"height": 224, "width": 224}}) == 0.875
    assert visible_share({"resize": {"height": 224, "width": 224}, "crop": None}) == 1
    assert visible_share({"crop_pct": 0.9, "crop_mode": "center"}) == 0.9
    assert visible_share({}) == 1
    described = {"preprocessing": {"crop_pct": 0.9}}
    assert seen_share({"compared": {}, "described": described}) == 0.9
    assert seen_share({"compared": {"fit": "whole"}, "described": described}) == 1


@pytest.mark.parametrize(("classes", "width"), [(256, np.uint8), (257, np.uint16), (70_000, np.uint32)])
def test_predictions_are_kept_narrow_and_counted_wide(classes: int, width: type[np.generic]) -> None:
    """A class's number times the number of classes does not fit in the dtype of the prediction."""
    scores = np.zeros((4, classes), np.float32)
    scores[:, classes - 1] = 1
    found = best_class(scores, locate(np.zeros(4, int), np.arange(4), np.arange(4), 4, (2, 2), 1.0))
    assert found.dtype == width
    truth = np.array([0, classes - 1, classes - 1, 1])
    hits, _, predicted = count_overlap(np.array([0, 1, 1, 2]), truth, found, (3, classes))
    assert hits.sum() == 2
    assert hits[1, classes - 1] == 2
    assert predicted[:, classes - 1].tolist() == [1, 2, 1]
    assert predicted.sum() == 4
