"""Windows accumulated on the picture, and Freeze-Align's figure, against slow versions that share no code with them."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from pipeline.datasets.segmentation import BACKGROUND, VOID
from pipeline.evaluation import sliding
from pipeline.evaluation.freeze_align_iou import present_class_ious
from pipeline.evaluation.sliding import label_pixels

GRID, SIZE = (4, 5), (70, 40)  # width, height
BOXES = [(0, 0, 40, 40), (20, 0, 60, 40), (30, 0, 70, 40)]


def scores(seed: int, classes: int = 7, windows: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(windows, GRID[0] * GRID[1], classes)).astype(np.float32)


def slow_mean(values: np.ndarray, margin: int = 0) -> np.ndarray:
    """Each window interpolated by torch, added pixel by pixel, and divided by how often a pixel was seen: (C, H, W)."""
    total = torch.zeros(values.shape[2], SIZE[1], SIZE[0])
    count = torch.zeros(SIZE[1], SIZE[0])
    for window, (left, top, right, bottom) in zip(values, BOXES, strict=True):
        grid = torch.from_numpy(window.T.copy()).reshape(1, -1, *GRID)
        inner = (bottom - top - 2 * margin, right - left - 2 * margin)
        wide = F.interpolate(grid, inner, mode="bilinear", align_corners=False)
        total[:, top:bottom, left:right] += F.pad(wide, (margin,) * 4, mode="replicate")[0]
        count[top:bottom, left:right] += 1
    return (total / count).numpy()


@pytest.mark.parametrize("margin", [0, 5])
def test_windows_are_averaged_where_they_overlap(margin: int) -> None:
    values = scores(0)
    found = label_pixels(values, GRID, BOXES, SIZE, share=1 - 2 * margin / 40)
    expected = slow_mean(values, margin)
    ordered = np.sort(expected, axis=0)
    clear = ordered[-1] - ordered[-2] > 1e-4
    assert clear.mean() > 0.99
    assert (found == expected.argmax(axis=0))[clear].all()


def test_background_is_where_no_class_is_likely() -> None:
    values = scores(1)
    probability = torch.from_numpy(slow_mean(values) * 3.0).softmax(dim=0).amax(dim=0).numpy()
    threshold = float(np.quantile(probability, 0.4))
    found = label_pixels(values, GRID, BOXES, SIZE, background=threshold, scale=3.0)
    clear = abs(probability - threshold) > 1e-5
    assert ((found == 7) == (probability < threshold))[clear].all()
    without = label_pixels(values, GRID, BOXES, SIZE)
    assert (found == without)[found != 7].all()
    assert (without < 7).all()


def test_classes_a_few_at_a_time_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    values = scores(2)
    whole = label_pixels(values, GRID, BOXES, SIZE, background=0.3, scale=2.0)
    monkeypatch.setattr(sliding, "_CHUNK_VALUES", 2 * SIZE[0] * SIZE[1])
    assert (label_pixels(values, GRID, BOXES, SIZE, background=0.3, scale=2.0) == whole).all()


def test_a_pixel_in_no_window_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"400 pixels of 70 x 40 are in none"):
        label_pixels(scores(3)[:2], GRID, BOXES[:2], SIZE)


def literal(values: np.ndarray, labels: np.ndarray) -> dict[int, float]:
    """The published script's steps, one class and one pixel at a time.

    Bilinear to 256 px; minus the minimum, over the range; above 0.4; against the ground truth at 256 px by nearest
    neighbour, in which the border is background; only for classes that are there.
    """
    truth = np.array(Image.fromarray(np.where(labels < 0, 255, labels).astype(np.uint8)).resize((256, 256), 0))
    found = {}
    for number in range(values.shape[1]):
        if not (truth == number).any():
            continue
        grid = torch.from_numpy(values[:, number].copy()).reshape(1, 1, *GRID)
        wide = F.interpolate(grid, size=(256, 256), mode="bilinear", align_corners=False)[0, 0]
        wide = (wide - wide.min()) / (wide.max() - wide.min())
        both = either = 0
        for row in range(256):
            predicted, true = wide[row].numpy() > 0.4, truth[row] == number
            both += int((predicted & true).sum())
            either += int((predicted | true).sum())
        found[number] = both / either
    return found


def test_freeze_align_figure_is_its_definition() -> None:
    generator = np.random.default_rng(4)
    labels = np.kron(generator.choice([0, 2, 5, BACKGROUND, VOID], size=(6, 7)), np.ones((8, 9), dtype=int))
    values = scores(4)[0]
    classes, ious, chance = present_class_ious(values, GRID, labels)
    expected = literal(values, labels)
    assert classes.tolist() == sorted(expected) == [0, 2, 5]
    assert ious == pytest.approx([expected[number] for number in classes.tolist()], abs=1e-4)
    share = np.mean(np.array(Image.fromarray((labels == 2).astype(np.uint8)).resize((256, 256), 0)))
    drawn = generator.random((4000,)) > 0.4
    assert chance[1] == pytest.approx(drawn.mean() * share / (drawn.mean() * (1 - share) + share), abs=0.02)


def test_freeze_align_figure_ignores_what_is_not_there() -> None:
    """The oracle: a class with higher scores everywhere costs nothing if it is absent, which mIoU would not forgive."""
    labels = np.zeros((30, 30), dtype=np.int64)
    values = scores(5)[0]
    before = present_class_ious(values, GRID, labels)
    values[:, 3] += 100
    assert [part.tolist() for part in present_class_ious(values, GRID, labels)] == [part.tolist() for part in before]
    assert (label_pixels(values[None], GRID, [(0, 0, 30, 30)], (30, 30)) == 3).all()


@pytest.mark.parametrize("value", [BACKGROUND, VOID])
def test_freeze_align_figure_of_a_picture_without_a_class_is_empty(value: int) -> None:
    classes, ious, chance = present_class_ious(scores(6)[0], GRID, np.full((30, 40), value))
    assert [part.shape for part in (classes, ious, chance)] == [(0,)] * 3
    assert classes.dtype == np.int64
