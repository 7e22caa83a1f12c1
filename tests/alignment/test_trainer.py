import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.alignment.data.batches import epoch_batches
from pipeline.alignment.heads.freeze_align import FreezeAlign
from pipeline.alignment.losses import info_nce
from pipeline.alignment.losses.positives import EVERY, pair_positives
from pipeline.alignment.training.initial_head import initial_head
from pipeline.alignment.training.records import EpochRecord, TrainedRepeat
from pipeline.alignment.training.repeats import report_length
from pipeline.alignment.training.schedule import learning_rate, optimiser, planned_epochs, warmup_of
from pipeline.alignment.training.trainer import train_repeat
from pipeline.alignment.validation import read_validation, recall_at_1, validation_recall
from pipeline.config import TrainParams
from pipeline.errors import ModelError
from pipeline.evaluation.metrics import first_hit_ranks, hits_at
from tests.alignment.planted import HEAD, PARAMS, TRAIN, changed, planted


def train(params: TrainParams = PARAMS, seed: int = 0, seen: list[EpochRecord] | None = None) -> TrainedRepeat:
    records = [] if seen is None else seen
    return train_repeat(planted(), params, spec=HEAD, repeat=0, seed=seed, on_epoch=records.append)


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


def loop(params: TrainParams, decay: float = 0.0) -> dict[str, torch.Tensor]:
    """The weights after the last step of a plain loop, or an average of those of each step."""
    data = planted()
    torch.manual_seed(0)
    head = initial_head(HEAD, data, params, 0)
    adamw, generator = optimiser([head], [params]), torch.Generator().manual_seed(0)
    average = {name: value.clone() for name, value in head.state_dict().items()}
    step, steps = 0, params.epochs * math.ceil(TRAIN / params.batch_size)
    for _ in range(params.epochs):
        head.train()
        for rows in epoch_batches(TRAIN, params.batch_size, generator):
            images, texts = data.features.images.read(rows), data.features.texts.read(rows)
            for group in adamw.param_groups:
                group["lr"] = learning_rate(step, steps, params)
            cosines = head.image_features(images), head.text_features(texts)
            loss = info_nce(*cosines, head.scale(), pair_positives(rows, rows)(EVERY, EVERY))
            adamw.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(head.parameters(), params.grad_clip)
            adamw.step()
            head.clamp_scale()
            step += 1
            now = min(decay, (1 + step) / (10 + step))
            for name, value in head.state_dict().items():
                average[name] = now * average[name] + (1 - now) * value
    return average if decay else head.state_dict()


def last_is_best(params: TrainParams, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """The weights that training keeps where the last record counts as the best."""
    monkeypatch.setattr(
        "pipeline.alignment.training.trainer.validation_recall", lambda head, _: (head.eval(), next(rising))[1]
    )
    rising = iter(range(1, 1000))
    return train(params).head.state_dict()


def test_training_is_the_plain_loop_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    expected, trained = loop(PARAMS), last_is_best(PARAMS, monkeypatch)
    assert trained.keys() == expected.keys()
    for name, value in trained.items():
        assert torch.equal(value, expected[name]), name


def test_an_average_of_the_weights_is_validated_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    params = changed(ema=0.6)
    expected, plain, trained = loop(params, 0.6), loop(params), last_is_best(params, monkeypatch)
    for name, value in trained.items():
        torch.testing.assert_close(value, expected[name])
    assert not torch.allclose(trained["vision_cls.linear.weight"], plain["vision_cls.linear.weight"])


def test_bfloat16_trains_float32_weights_to_nearly_the_same_loss() -> None:
    full, half = train(changed(dropout=0.0)), train(changed(dropout=0.0, precision="bfloat16"))
    for ours, theirs in zip(full.history, half.history, strict=True):
        assert theirs.loss == pytest.approx(ours.loss, rel=0.05)
    assert full.history[-1].loss != half.history[-1].loss
    assert {value.dtype for value in half.head.state_dict().values()} == {torch.float32}


def test_records_come_at_steps_and_at_the_end_of_every_epoch() -> None:
    every = train(changed(validate_every=2)).history
    assert [record.step for record in every] == [2, 3, 4, 6, 8, 9, 10, 12, 14, 15, 16, 18]
    assert [record.epoch for record in every] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]
    whole = {record.step: record.val_recall for record in train().history}
    assert {record.step: record.val_recall for record in every if record.step in whole} == whole


def test_training_ends_when_patience_does() -> None:
    long = train(changed(epochs=12, lr=2e-2))
    recalls = [record.val_recall for record in long.history]
    patience = 2
    ends = next(n for n in range(len(recalls)) if n - recalls.index(max(recalls[: n + 1])) >= patience)
    assert ends < len(recalls) - 1  # or this test shows nothing
    short = train(changed(epochs=12, lr=2e-2, patience=patience))
    assert [record.val_recall for record in short.history] == recalls[: ends + 1]
    assert short.samples_seen == TRAIN * (ends + 1)
    assert short.best_epoch == recalls.index(max(recalls[: ends + 1])) + 1


@pytest.mark.parametrize(("recalls", "least", "ends"), [
    ([0.1, 0.5, 0.2, 0.2], 0, 4),
    ([0.1, 0.5, 0.2, 0.2, 0.2, 0.2], 12, 6),
    ([0.1, 0.5, 0.2, 0.2, 0.2, 0.6, 0.2, 0.6], 12, 8),
])  # fmt: skip
def test_patience_counts_from_the_least_number_of_steps_on(
    recalls: list[float], least: int, ends: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Epochs of three steps: after 12 of them two validations in vain, or two after a better one; equals are none."""
    script = iter([*recalls, *[0.3] * 99])
    monkeypatch.setattr(
        "pipeline.alignment.training.trainer.validation_recall", lambda head, _: (head.eval(), next(script))[1]
    )
    history = train(changed(epochs=12, patience=2, min_steps=least)).history
    assert [record.epoch for record in history] == list(range(1, ends + 1))


@pytest.mark.parametrize(("pairs", "epochs"), [(60, 300), (1685, 75), (800, 150), (20_000_000, 12)])
def test_few_pairs_take_more_epochs_and_many_do_not(pairs: int, epochs: int) -> None:
    """Batches of 512: an epoch has 1, 4, 2 and 39,063 steps."""
    assert planned_epochs(pairs, TrainParams(epochs=12, batch_size=512)) == epochs


def test_a_training_of_few_epochs_takes_the_least_number_of_steps(caplog: pytest.LogCaptureFixture) -> None:
    params = changed(epochs=2, min_steps=25, warmup_steps=2)
    history = train(params).history
    assert [record.epoch for record in history] == list(range(1, 10))  # of three steps
    assert history[-1].step == 27
    assert history[-1].lr == pytest.approx(1e-5)
    with caplog.at_level("INFO"):
        report_length("sail", params, [TRAIN])
    assert caplog.messages == ["sail: 9 epochs instead of 2, for at least 25 steps"]


def test_the_learning_rate_warms_up_and_ends_at_its_minimum() -> None:
    params = TrainParams(lr=1.0, min_lr=0.1, warmup_steps=4)
    rates = [learning_rate(step, 40, params) for step in range(40)]
    assert rates[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[-1] == pytest.approx(0.1)
    assert learning_rate(0, 1, params) == 1.0  # the only step


@pytest.mark.parametrize(("steps", "warm"), [(12, 1), (24, 2), (300, 20)])
def test_a_warm_up_takes_at_most_a_tenth_of_the_steps(steps: int, warm: int) -> None:
    """With 12 and 24 steps a warm-up of 20 used to end near the last of them, and the rate at its peak."""
    params = TrainParams(lr=1.0, min_lr=0.01, warmup_steps=20)
    rates = [learning_rate(step, steps, params) for step in range(steps)]
    assert rates[:warm] == pytest.approx([(step + 1) / warm for step in range(warm)])
    assert rates.index(max(rates)) == warm - 1
    assert rates[-1] == pytest.approx(0.01)


@given(st.integers(2, 5000), st.integers(0, 5000))
def test_every_schedule_ends_at_its_minimum(steps: int, warmup: int) -> None:
    params = TrainParams(lr=1e-3, min_lr=1e-5, warmup_steps=warmup)
    warm = warmup_of(steps, params)
    assert warm <= steps / 10
    assert learning_rate(steps - 1, steps, params) == pytest.approx(1e-5)
    assert learning_rate(warm, steps, params) == pytest.approx(1e-3)
    assert all(1e-5 <= learning_rate(step, steps, params) <= 1e-3 for step in range(warm, steps, 1 + steps // 20))


@pytest.mark.parametrize(("steps", "warned"), [(199, True), (200, False)])
def test_a_warm_up_that_is_cut_short_is_said(steps: int, warned: bool, caplog: pytest.LogCaptureFixture) -> None:
    params = TrainParams(epochs=steps, min_steps=0, batch_size=64, warmup_steps=20)
    report_length("sail", params, [50, 60])
    assert ("sail: warmup_steps: 20 is more than a tenth of the 199 steps" in caplog.text) == warned


def test_only_matrices_decay() -> None:
    head = FreezeAlign(8, 6, 6)
    decayed, free = optimiser([head], [TrainParams()]).param_groups
    assert decayed["weight_decay"] == 0.02
    assert free["weight_decay"] == 0.0
    assert {weight.ndim for weight in decayed["params"]} == {2}
    assert any(weight is head.logit_scale for weight in free["params"])
    assert len(decayed["params"]) + len(free["params"]) == len(list(head.parameters()))


@pytest.mark.parametrize("rows", [1, 30, 1024, 2500])
def test_recall_at_1_agrees_with_the_evaluation(rows: int) -> None:
    scores = torch.randint(0, 3, (rows, 8), generator=torch.Generator().manual_seed(0)).double()
    positives = torch.zeros(rows, 8, dtype=torch.bool)
    positives[torch.arange(rows), torch.arange(rows) % 8] = True
    positives[::3, 5] = True
    expected = hits_at(first_hit_ranks(scores.numpy(), torch.eye(8).double().numpy(), positives.nonzero().numpy()), 1)
    assert recall_at_1(scores, positives) == pytest.approx(expected.mean())
