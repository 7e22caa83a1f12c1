import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.alignment.losses import info_nce
from pipeline.alignment.losses.positives import EVERY, pair_positives

ONE = torch.tensor(1.0)


def positives(images: Tensor, texts: Tensor) -> Tensor:
    return pair_positives(images, texts)(EVERY, EVERY)


def test_positives_of_identical_captions_and_of_captions_of_one_image() -> None:
    # images a a b c, captions p q q r: a has p and q, b has q, c has r
    matrix = positives(torch.tensor([9, 9, 4, 2]), torch.tensor([50, 60, 60, 70]))
    expected = [[1, 1, 1, 0], [1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1]]
    assert matrix.int().tolist() == expected


def test_distinct_pairs_are_only_positive_to_themselves() -> None:
    assert torch.equal(positives(torch.arange(4), torch.tensor([3, 2, 1, 0])), torch.eye(4, dtype=torch.bool))


def test_without_shared_captions_it_is_the_loss_of_clip() -> None:
    torch.manual_seed(0)
    images, texts = F.normalize(torch.randn(5, 3), dim=1), F.normalize(torch.randn(5, 3), dim=1)
    logits = 7.0 * images @ texts.T
    expected = (F.cross_entropy(logits, torch.arange(5)) + F.cross_entropy(logits.T, torch.arange(5))) / 2
    torch.testing.assert_close(info_nce(images, texts, torch.tensor(7.0), torch.eye(5, dtype=torch.bool)), expected)


def test_three_by_three_by_hand() -> None:
    # identity features: every row and column of logits is (1, 0, 0) in some order
    eye = torch.eye(3)
    loss = info_nce(eye, eye, ONE, torch.eye(3, dtype=torch.bool))
    assert float(loss) == pytest.approx(math.log(math.e + 2) - 1, abs=1e-6)


def test_four_by_four_with_a_shared_caption_by_hand() -> None:
    # images 0 and 1 share a caption: their rows, and the columns of that caption, have target (1/2, 1/2, 0, 0)
    images = torch.eye(4)
    texts = torch.eye(4)[[0, 0, 2, 3]]
    positive = positives(torch.arange(4), torch.tensor([5, 5, 6, 7]))
    row_shared_hit = math.log(2 * math.e + 2) - 1  # row 0: logits 1 1 0 0
    row_shared_miss = math.log(4)  # row 1: logits 0 0 0 0
    single = math.log(math.e + 3) - 1  # rows 2 and 3
    rows = (row_shared_hit + row_shared_miss + 2 * single) / 4
    column_shared = math.log(math.e + 3) - 0.5  # columns 0 and 1: logits 1 0 0 0, target half on row 0, half on row 1
    columns = (2 * column_shared + 2 * single) / 4
    assert float(info_nce(images, texts, ONE, positive)) == pytest.approx((rows + columns) / 2, abs=1e-6)


def test_soft_targets_agree_with_torch() -> None:
    torch.manual_seed(2)
    images, texts = torch.randn(6, 4), torch.randn(6, 4)
    positive = positives(torch.tensor([0, 0, 1, 2, 3, 3]), torch.tensor([0, 1, 1, 2, 3, 2]))
    target = positive.float()
    logits = images @ texts.T
    by_row = F.cross_entropy(logits, target / target.sum(1, keepdim=True))
    by_column = F.cross_entropy(logits.T, target.T / target.T.sum(1, keepdim=True))
    torch.testing.assert_close(info_nce(images, texts, ONE, positive), (by_row + by_column) / 2)
