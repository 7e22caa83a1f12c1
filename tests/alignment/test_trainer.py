import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.alignment.batches import epoch_batches
from pipeline.alignment.data import AlignmentData
from pipeline.alignment.inputs import ImageInput, TextInput
from pipeline.alignment.projectors import FreezeAlign
from pipeline.alignment.resident import ResidentFeatures
from pipeline.alignment.schedule import learning_rate, optimiser
from pipeline.alignment.trainer import EpochRecord, TrainedRepeat, train_repeat
from pipeline.alignment.validation import read_validation, recall_at_1, validation_recall
from pipeline.config.schema import AlignerSpec, TrainParams
from pipeline.errors import ModelError
from pipeline.evaluation.metrics import first_hit_ranks, hits_at

SPEC = AlignerSpec(image="vit", text="minilm", data=("toy",), embed_dim=6)
PARAMS = TrainParams(epochs=6, batch_size=16, warmup_steps=3, lr=5e-3, device="cpu")


def planted(pairs: int = 60) -> AlignmentData:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(pairs, 4, generator=generator)
    image, text = z @ torch.randn(4, 8, generator=generator), z @ torch.randn(4, 6, generator=generator)
    rows = torch.arange(pairs)[:, None].repeat(1, 2)
    return AlignmentData(
        features=ResidentFeatures(
            ImageInput(image.half(), image[:, None].repeat(1, 3, 1).half()),
            TextInput.from_pooled(text.half()),
            torch.device("cpu"),
        ),
        train=(rows[:40],),
        validation=(rows[40:],),
        fingerprints={},
        datasets=("toy",),
    )


def train(params: TrainParams = PARAMS, seed: int = 0, seen: list[EpochRecord] | None = None) -> TrainedRepeat:
    records = [] if seen is None else seen
    return train_repeat(planted(), params, spec=SPEC, repeat=0, seed=seed, on_epoch=records.append)


@given(st.integers(1, 300), st.integers(1, 64), st.integers(0, 9))
def test_every_pair_comes_exactly_once_per_epoch(pairs: int, batch_size: int, seed: int) -> None:
    batches = list(epoch_batches(pairs, batch_size, torch.Generator().manual_seed(seed)))
    assert sorted(torch.cat(batches).tolist()) == list(range(pairs))
    sizes = [len(batch) for batch in batches]
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1
    assert len(batches) == math.ceil(pairs / batch_size)


def test_epochs_differ_in_order() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.cat(list(epoch_batches(50, 16, generator))) for _ in range(2))
    assert not torch.equal(first, second)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    first, again, other = train(), train(), train(seed=1)
    torch.rand(3)  # the caller's generator must not matter
    for name, value in first.head.state_dict().items():
        assert torch.equal(value, again.head.state_dict()[name]), name
    assert not torch.equal(first.head.vision_cls.linear.weight, other.head.vision_cls.linear.weight)


def test_the_callers_generator_is_left_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    train()
    assert torch.equal(torch.rand(2), expected)


def test_the_best_epoch_on_validation_is_kept_and_ties_go_to_the_earlier() -> None:
    seen: list[EpochRecord] = []
    result = train(seen=seen)
    recalls = [record.val_recall for record in seen]
    assert result.best_epoch == recalls.index(max(recalls)) + 1
    assert validation_recall(result.head, read_validation(planted(), 0)) == pytest.approx(max(recalls))
    assert tuple(seen) == result.history
    assert result.samples_seen == 40 * 6
    constant = train(PARAMS.model_copy(update={"lr": 1e-30, "min_lr": 0.0}))
    assert constant.best_epoch == 1


def test_a_diverged_training_says_so() -> None:
    with pytest.raises(ModelError, match="train.lr"):
        train(PARAMS.model_copy(update={"lr": 1e30, "grad_clip": 0.0}))


def test_the_learning_rate_warms_up_and_ends_at_its_minimum() -> None:
    params = TrainParams(lr=1.0, min_lr=0.1, warmup_steps=4)
    rates = [learning_rate(step, 20, params) for step in range(20)]
    assert rates[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[-1] == pytest.approx(0.1)
    assert learning_rate(0, 1, params) == 1.0  # a run shorter than its warm-up


def test_only_matrices_decay() -> None:
    head = FreezeAlign(8, 6, 6)
    decayed, free = optimiser(head, TrainParams()).param_groups
    assert decayed["weight_decay"] == 0.02
    assert free["weight_decay"] == 0.0
    assert {weight.ndim for weight in decayed["params"]} == {2}
    assert any(weight is head.logit_scale for weight in free["params"])
    assert len(decayed["params"]) + len(free["params"]) == len(list(head.parameters()))


def test_recall_at_1_agrees_with_the_evaluation() -> None:
    scores = torch.randint(0, 3, (30, 8), generator=torch.Generator().manual_seed(0)).double()
    right = torch.zeros(30, 8, dtype=torch.bool)
    right[torch.arange(30), torch.arange(30) % 8] = True
    right[::3, 5] = True
    expected = hits_at(first_hit_ranks(scores.numpy(), torch.eye(8).double().numpy(), right.nonzero().numpy()), 1)
    assert recall_at_1(scores, right) == pytest.approx(expected.mean())
