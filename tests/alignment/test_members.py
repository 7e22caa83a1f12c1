"""Members of a training of many against each of them trained alone."""

import csv
import json
import logging
import math

import pytest
import torch

from pipeline.alignment import fit_aligner
from pipeline.alignment.losses.objective import Objective
from pipeline.alignment.saved import ProjectionHeads
from pipeline.alignment.training.initial_head import initial_head
from pipeline.alignment.training.members import Member, members_of
from pipeline.alignment.training.records import EpochRecord, TrainedRepeat
from pipeline.alignment.training.stacked import Dropout, StackedLosses
from pipeline.alignment.training.summary import chosen
from pipeline.alignment.training.trainer import train_members
from pipeline.config import MemberParams, TrainParams
from pipeline.errors import ModelError
from pipeline.paths import MODELS, WORK_VARIABLE
from tests.alignment.planted import HEAD, changed, planted
from tests.alignment.specs import fit_of, settings_of
from tests.alignment.toy import World

MEMBERS = {
    "plain": {},
    "fast": {"lr": 1e-2},
    "free": {"weight_decay": 0.0, "temperature": 0.2},
    "other": {"seed": 3, "weight_decay": 0.5},
}


def together(params: TrainParams, repeat: int = 0) -> dict[str, TrainedRepeat]:
    members = members_of(params, 5, 1, repeat)
    results = train_members(planted(), members, spec=HEAD, repeat=0, seed=5, on_record=lambda *_: None)
    return {result.member.name: result for result in results}


def alone(params: TrainParams, name: str) -> TrainedRepeat:
    """The member by itself, on the same batches: the plain road of one head."""
    (member,) = [member for member in members_of(params, 5, 1, 0) if member.name == name]
    (result,) = train_members(planted(), [member], spec=HEAD, repeat=0, seed=5, on_record=lambda *_: None)
    return result


def close(found: TrainedRepeat, expected: TrainedRepeat) -> None:
    for one, other in zip(found.history, expected.history, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-4)
        assert one.grad_norm == pytest.approx(other.grad_norm, rel=1e-3)
        assert (one.lr, one.step, one.epoch) == (other.lr, other.step, other.epoch)
    assert found.best_epoch == expected.best_epoch
    for name, value in found.head.state_dict().items():
        torch.testing.assert_close(value, expected.head.state_dict()[name], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("changes", [{}, {"ema": 0.6}], ids=["weights", "average"])
def test_each_member_is_what_it_would_be_alone(changes: dict[str, float]) -> None:
    params = changed(dropout=0.0, members=MEMBERS, **changes)
    results = together(params)
    assert list(results) == list(MEMBERS)
    for name, result in results.items():
        close(result, alone(params, name))
    weights = [result.head.state_dict()["vision_cls.linear.weight"] for result in results.values()]
    assert not any(torch.allclose(one, other) for i, one in enumerate(weights) for other in weights[:i])


def test_a_member_without_dropout_is_not_touched_by_that_of_others() -> None:
    params = changed(dropout=0.0, members={"plain": {}, "dropped": {"dropout": 0.5}})
    results = together(params)
    close(results["plain"], alone(params, "plain"))
    assert results["dropped"].history[-1].loss > 1.05 * results["plain"].history[-1].loss


def test_stacked_dropout_has_the_rate_of_each_head_and_keeps_the_mean() -> None:
    layers = [Dropout(rate) for rate in (0.0, 0.25, 0.6)]
    buffers = torch.stack([layer.kept for layer in layers])
    x = torch.ones(400, 100)

    def one(kept: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(layers[0], {"kept": kept}, (x,))

    found = torch.vmap(one, randomness="different")(buffers)
    assert (found == 0).float().mean(dim=(1, 2)).tolist() == pytest.approx([0.0, 0.25, 0.6], abs=0.01)
    assert found.mean(dim=(1, 2)).tolist() == pytest.approx([1.0, 1.0, 1.0], abs=0.02)
    assert torch.equal(layers[1].eval()(x), x)


def test_gradients_of_stacked_heads_are_those_of_each() -> None:
    data, params = planted(), changed(dropout=0.0)
    torch.manual_seed(0)
    heads = [initial_head(HEAD, data, params, 0) for _ in range(3)]
    batch = next(iter(data.features.epoch(data.train[0], 16, torch.Generator().manual_seed(0), 1)))
    expected = []
    for head in heads:
        loss = Objective(HEAD.loss)(head, batch, 0.0)["loss"]
        expected.append((loss.detach(), torch.autograd.grad(loss, list(head.parameters()))))
    stacked = StackedLosses(heads, Objective(HEAD.loss), [0.0] * 3)
    losses = stacked(batch, 0.0)["loss"]
    losses.sum().backward()
    stacked.hand_out_gradients()
    for head, loss, (value, gradients) in zip(heads, losses, expected, strict=True):
        torch.testing.assert_close(loss.detach(), value)
        for weight, gradient in zip(head.parameters(), gradients, strict=True):
            torch.testing.assert_close(weight.grad, gradient, atol=1e-6, rtol=1e-4)


def test_a_seed_of_a_member_is_that_of_the_whole_training() -> None:
    params = changed(members={"here": {}, "there": {"seed": 2}})
    first = members_of(params, seed=1, repeats=5, repeat=3)
    other = members_of(changed(), seed=3, repeats=5, repeat=3)
    assert [member.seed for member in first] == [1 * 5 + 3, 3 * 5 + 3]
    assert [member.seed for member in other] == [first[1].seed]


def test_a_member_that_diverges_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    params = changed(grad_clip=0.0, dropout=0.0, members={"plain": {}, "wild": {"lr": 1e3}})
    with caplog.at_level(logging.WARNING):
        results = together(params)
    assert "member 'wild'" in caplog.text
    assert results["wild"].history == ()
    close(results["plain"], alone(params, "plain"))
    with pytest.raises(ModelError, match="Lower train.lr"):
        together(changed(grad_clip=0.0, members={"one": {"lr": 1e3}, "two": {"lr": 9e2}}))


def test_patience_ends_one_member_and_not_the_others() -> None:
    params = changed(dropout=0.0, epochs=12, patience=2, members={"frozen": {"lr": 1e-5}, "fast": {"lr": 2e-2}})
    results = together(params)
    for name, result in results.items():
        close(result, alone(params, name))
    assert len({len(result.history) for result in results.values()}) == 2


@pytest.fixture
def inside(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv(WORK_VARIABLE, str(world.root / "work"))
    return world


@pytest.mark.usefixtures("inside")
@pytest.mark.parametrize("kept", ["best", "slow"])
def test_one_member_is_kept_and_each_is_reported(kept: str) -> None:
    params = changed(epochs=4, members={"slow": {"lr": 1e-5}, "usual": {}, "wild": {"lr": 1e3}}, grad_clip=0.0)
    fit_aligner(settings_of(fit_of(HEAD), params.model_copy(update={"member": kept})))
    folder = MODELS / "default"
    metrics = json.loads((folder / "metrics.json").read_text())
    members = metrics["members"]
    assert list(members) == ["slow", "usual", "wild"]
    assert (members["slow"]["lr"], members["usual"]["lr"]) == (1e-5, 5e-3)
    assert members["wild"]["validation_recall"] is None
    assert members["usual"]["validation_recall"]["mean"] > members["slow"]["validation_recall"]["mean"]
    repeats = metrics["repeats"]
    names = {repeat: row["member"] for repeat, row in repeats.items()}
    for repeat, row in repeats.items():
        of_each = {name: found["repeats"][repeat]["validation_recall"] for name, found in members.items()}
        best = max((name for name in members if name != "wild"), key=lambda name: of_each[name])
        assert names[repeat] == ("slow" if kept == "slow" else best)
        assert row["validation_recall"] == of_each[names[repeat]]
    with open(folder / "members.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert {(line["member"], line["repeat"]) for line in lines} == {(m, r) for m in ("slow", "usual") for r in "01"}
    with open(folder / "curves.csv", newline="") as file:
        shown = list(csv.DictReader(file))
    assert shown == [
        {key: value for key, value in line.items() if key != "member"}
        for line in lines
        if line["member"] == names[f"repeat_{line['repeat']}"]
    ]
    assert ProjectionHeads.from_folder(folder, 1).logit_scale > 1
    with pytest.raises(ModelError, match="'wild' diverged"):
        fit_aligner(settings_of(fit_of(HEAD), params.model_copy(update={"member": "wild"})))


def test_members_are_checked_as_they_are_read() -> None:
    with pytest.raises(ValueError, match="above lr"):
        changed(members={"low": {"lr": 1e-6}})
    with pytest.raises(ValueError, match="no member may be called best"):
        changed(members={"best": {}})
    with pytest.raises(ValueError, match="write best or one of members"):
        changed(members={"one": {}}, member="two")
    assert math.isclose(MemberParams(lr=2e-3).lr or 0, 2e-3)


def test_each_repeat_keeps_the_best_on_its_own_validation() -> None:
    """The mean over repeats would choose "even" for both, and so let one repeat see what the other tests."""
    params = changed(members={"first": {}, "even": {}})

    def result(name: str, recall: float) -> TrainedRepeat:
        record = EpochRecord(0, 1, 1, 1.0, 1e-3, 1.0, 1.0, 1.0, recall)
        return TrainedRepeat(torch.nn.Identity(), Member(name, 0, params), 0, 1, recall, 0.0, 1, (record,))

    trained = [[result("first", 0.4), result("even", 0.3)], [result("first", 0.1), result("even", 0.3)]]
    assert [one.member.name for one in chosen(params, trained)] == ["first", "even"]
    named = params.model_copy(update={"member": "first"})
    assert [one.val_recall for one in chosen(named, trained)] == [0.4, 0.1]
