"""The batched study against one member at a time, and its loss against the trainer's own."""

import numpy as np
import pytest
import torch

from pipeline.alignment.losses import info_nce
from pipeline.config import SyntheticToy, ToySpec
from pipeline.errors import DataError
from pipeline.similarity.batched_loss import clip_loss
from pipeline.similarity.correlation import spearman, spearman_by_encoder
from pipeline.similarity.ease import Member, align_all
from pipeline.similarity.studies import synthetic_points
from pipeline.similarity.synthetic import synthetic_pairs

PARAMS = ToySpec(compare="mine", iterations=40, validate_every=10, batch_size=16, width=8, lr=1e-2, device="cpu")


def member(seed: int, width: int, related: bool = True) -> Member:
    generator = np.random.default_rng(seed)
    first = generator.normal(size=(80, width)).astype(np.float32)
    second = first @ generator.normal(size=(width, 5)) if related else generator.normal(size=(80, 5))
    return Member(first, second.astype(np.float32), seed)


ROWS = np.arange(64), np.arange(64, 80)


def test_the_batched_loss_and_its_gradient_equal_info_nce() -> None:
    torch.manual_seed(0)
    first, second = (torch.nn.functional.normalize(torch.randn(2, 6, 4), dim=-1).double() for _ in range(2))
    first.requires_grad_(), second.requires_grad_()
    scale = torch.tensor([3.0, 11.0], dtype=torch.float64, requires_grad=True)
    eye = torch.eye(6, dtype=torch.bool)
    expected = torch.stack([info_nce(first[m], second[m], scale[m], eye) for m in range(2)])
    wanted = torch.autograd.grad(expected.sum(), [first, second, scale])
    found = clip_loss(first, second, scale)
    torch.testing.assert_close(found, expected)
    for got, want in zip(torch.autograd.grad(found.sum(), [first, second, scale]), wanted, strict=True):
        torch.testing.assert_close(got, want)


def test_members_do_not_influence_each_other() -> None:
    members = [member(0, 6), member(1, 9), member(2, 6, related=False)]
    together = align_all(members, *ROWS, PARAMS, "all")
    for alone, shared in zip((align_all([m], *ROWS, PARAMS, "one")[0] for m in members), together, strict=True):
        assert alone.loss == pytest.approx(shared.loss, rel=1e-3)
        assert alone.heldout_loss == pytest.approx(shared.heldout_loss, rel=1e-3)


def test_related_spaces_are_easier_to_align() -> None:
    related, unrelated = align_all([member(0, 6), member(0, 6, related=False)], *ROWS, PARAMS, "study")
    assert related.loss < unrelated.loss
    assert related.heldout_loss < unrelated.heldout_loss


def test_the_held_out_loss_is_the_least_over_training() -> None:
    """Noise is memorised: its held-out loss rises after the first validations, and the least one is kept."""
    noise, fast = [member(0, 6, related=False)], PARAMS.model_copy(update={"lr": 0.1})
    reached = align_all(noise, *ROWS, fast, "study")[0]
    by_length = [
        align_all(noise, *ROWS, fast.model_copy(update={"iterations": n, "validate_every": n}), "study")[0]
        for n in (10, 20, 30, 40)
    ]
    losses = [one.heldout_loss for one in by_length]
    assert losses[-1] > min(losses)
    assert reached.heldout_loss == pytest.approx(min(losses), rel=1e-4)
    assert reached.iteration == 10 * (1 + losses.index(min(losses)))
    assert reached.heldout_recall == pytest.approx(by_length[losses.index(min(losses))].heldout_recall)
    assert reached.loss == pytest.approx(by_length[-1].loss, rel=1e-4)


def test_recall_of_a_map_that_is_learnt_and_of_noise() -> None:
    related, unrelated = align_all([member(0, 6), member(0, 6, related=False)], *ROWS, PARAMS, "study")
    assert related.heldout_recall >= 0.5
    assert unrelated.heldout_recall <= 0.25  # chance is 1 / 16


def test_encoders_and_not_layers_are_resampled() -> None:
    """All layers of an encoder share a value, so many layers say no more than one."""
    images, texts = (np.repeat(["a", "b", "c", "d"], 8), np.tile(np.repeat(["s", "t"], 4), 4))
    x = np.repeat([0.1, 0.2, 0.3, 0.4], 8) + np.tile(np.arange(4) * 1e-3, 8)
    y = np.repeat([1.0, 3.0, 2.0, 4.0], 8)
    by_point, by_encoder = spearman(x, y, 0), spearman_by_encoder(x, y, images, texts, 0)
    assert by_encoder["spearman"] == by_point["spearman"]
    assert (by_encoder["images"], by_encoder["texts"], by_encoder["p"]) == (4, 2, None)
    assert by_point["ci"][0] > 0  # 32 points look like evidence, four encoders are none
    assert by_encoder["ci"][0] < 0


def test_chance_of_the_studies_is_the_logarithm_of_the_batch() -> None:
    point = synthetic_points(
        PARAMS.model_copy(update={"synthetic": SyntheticToy(samples=64, width=4, noise=(0.0, 1.0), seeds=1)}), 5, 0
    )[0]
    assert point["chance_loss"] == pytest.approx(np.log(16), abs=1e-6)
    assert point["chance_heldout_loss"] == pytest.approx(np.log(13), abs=1e-6)  # a fifth of 64 rows, rounded
    assert point["chance_heldout_recall"] == pytest.approx(1 / 13, abs=1e-6)


def test_too_few_rows() -> None:
    with pytest.raises(DataError, match="needs 2 rows"):
        align_all([member(0, 6)], np.arange(1), np.arange(2), PARAMS, "study")


def test_synthetic_pairs_cover_the_grid_and_repeat() -> None:
    params = SyntheticToy(samples=64, width=4, noise=(0.0, 1.0), seeds=2)
    pairs = synthetic_pairs(params, seed=3)
    assert [(p.w1, p.w2) for p in pairs] == [(a, b) for _ in range(2) for a in (0.0, 1.0) for b in (0.0, 1.0)]
    again = synthetic_pairs(params, seed=3)
    assert all(np.array_equal(p.first, q.first) for p, q in zip(pairs, again, strict=True))
    assert not np.array_equal(pairs[0].first, pairs[4].first)
