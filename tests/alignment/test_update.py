"""A step recorded once and replayed, and a step that is compiled, against the plain one."""

import copy
from collections.abc import Callable
from functools import partial

import pytest
import torch

from pipeline.alignment.losses.objective import Objective
from pipeline.alignment.training.capture import CapturedStep
from pipeline.alignment.training.initial_head import initial_head
from pipeline.alignment.training.members import Member, members_of
from pipeline.alignment.training.metric_window import MetricWindow
from pipeline.alignment.training.records import StepMetrics
from pipeline.alignment.training.trainer import train_members, train_repeat
from pipeline.alignment.training.update import Updater
from pipeline.config import TrainParams
from pipeline.errors import ConfigError, ModelError
from tests.alignment.planted import HEAD, changed, planted


class Tape:
    """Stands in for a CUDA graph: a replay does again what was recorded, on the same tensors, into the same results."""

    def __init__(self) -> None:
        self.recorded = self.warmed = 0

    def warm_up(self, function: Callable[[], StepMetrics], runs: int) -> None:
        self.warmed += runs
        for _ in range(runs):
            function()

    def record(self, function: Callable[[], StepMetrics]) -> tuple[StepMetrics, Callable[[], None]]:
        self.recorded += 1
        held = StepMetrics(
            {"loss": torch.full((1,), torch.nan), "contrast": torch.full((1,), torch.nan)}, torch.zeros(1)
        )

        def replay() -> None:
            metrics = function()
            for name, part in metrics.parts.items():
                held.parts[name].copy_(part)
            held.norms.copy_(metrics.norms)

        return held, replay


def updater(params: TrainParams) -> Updater:
    torch.manual_seed(0)
    head = initial_head(HEAD, planted(), params, 0)
    return Updater([head.train()], [Member("", 0, params)], Objective(HEAD.loss))


def test_a_recorded_step_moves_the_weights_as_the_plain_one_does() -> None:
    params, data, tape = changed(), planted(), Tape()
    plain, recorded = updater(params), updater(params)
    recorded._update = CapturedStep(recorded._eager, recorded.state_tensors, tape)
    metrics: list[list[StepMetrics]] = [[], []]
    for of_one, update in zip(metrics, (plain, recorded), strict=True):
        torch.manual_seed(1)  # of dropout: the warm-up must not use it up
        for epoch in (1, 2):
            for step, batch in enumerate(
                data.features.epoch(data.train[0], 16, torch.Generator().manual_seed(0), epoch)
            ):
                of_one.append(update(batch, [1e-3 * (1 + step)], step, 6))
    assert (tape.recorded, tape.warmed) == (2, 6)  # 40 pairs make batches of 14 and of 13
    for one, other in zip(*metrics, strict=True):
        assert torch.equal(one.parts["loss"], other.parts["loss"])
        assert torch.equal(one.norms, other.norms)
    assert len({float(step.parts["loss"]) for step in metrics[1]}) == 6
    for one, other in zip(plain.state_tensors(), recorded.state_tensors(), strict=True):
        assert torch.equal(one, other)


def test_what_cannot_be_recorded_says_what_to_do() -> None:
    class Refusing(Tape):
        def record(self, function: Callable[[], StepMetrics]) -> tuple[StepMetrics, Callable[[], None]]:
            del function
            raise RuntimeError("operation not permitted when stream is capturing\nmore")

    data, update = planted(), updater(changed())
    batch = next(iter(data.features.epoch(data.train[0], 16, torch.Generator().manual_seed(0), 1)))
    assert len(batch.tensors) == 5
    with pytest.raises(ModelError, match=r"not permitted when stream is capturing.*train.step: eager"):
        CapturedStep(update._eager, update.state_tensors, Refusing())(batch)


def test_an_updater_continues_from_the_state_of_another() -> None:
    params, data = changed(ema=0.6), planted()
    batches = list(data.features.epoch(data.train[0], 16, torch.Generator().manual_seed(0), 1))
    first, second = updater(params), updater(params)
    for step, batch in enumerate(batches):
        first(batch, [1e-3], step, 6)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for updated in (first, second):
        torch.manual_seed(1)  # of dropout
        updated(batches[0], [1e-2], 3, 6)
    for one, other in zip(first.state_tensors(), second.state_tensors(), strict=True):
        assert torch.equal(one, other)
    for one, other in zip(first.averages[0].parameters(), second.averages[0].parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_metric_window_continues_from_the_state_of_another() -> None:
    whole, first, second = MetricWindow(), MetricWindow(), MetricWindow()
    second.load_state_dict(first.state_dict())  # of no step
    for step in range(5):
        metrics = StepMetrics({"loss": torch.rand(2), "contrast": torch.rand(2)}, torch.rand(2))
        for window in (whole, first if step < 3 else second):
            window.add(metrics, 7 + step)
        if step == 2:
            second.load_state_dict(first.state_dict())
    assert second.pairs == whole.pairs == 45
    assert second.means() == whole.means()
    assert second.mean_norms() == whole.mean_norms()


def test_a_captured_step_needs_a_gpu() -> None:
    with pytest.raises(ConfigError, match=r"training is on cpu.*train.step: eager"):
        train_repeat(planted(), changed(step="captured"), spec=HEAD, repeat=0, seed=0, on_epoch=lambda _: None)


@pytest.mark.parametrize("members", [{}, {"one": {}, "two": {"lr": 1e-3}}], ids=["one", "many"])
def test_a_compiled_step_trains_as_the_plain_one_does(
    members: dict[str, dict[str, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    plain, compiled = (
        train_members(
            planted(),
            members_of(changed(dropout=0.0, epochs=1, members=members, step=step), 0, 1, 0),
            spec=HEAD,
            repeat=0,
            seed=0,
            on_record=lambda *_: None,
        )
        for step in ("eager", "compiled")
    )
    for one, other in zip(plain, compiled, strict=True):
        assert one.history[0].loss == pytest.approx(other.history[0].loss, rel=1e-4)
        for name, value in one.head.state_dict().items():
            torch.testing.assert_close(value, other.head.state_dict()[name], atol=1e-4, rtol=1e-3)
