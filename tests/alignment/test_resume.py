"""Killed at any step and started again, a training ends with the weights of an undisturbed one."""

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from pipeline.alignment import fit_aligner
from pipeline.alignment.data.load import AlignmentData
from pipeline.alignment.saved import heads_path
from pipeline.alignment.training import resume
from pipeline.alignment.training.members import members_of
from pipeline.alignment.training.records import TrainedRepeat
from pipeline.alignment.training.resume import Checkpoint, forget, training_folder
from pipeline.alignment.training.trainer import train_members
from pipeline.config import TrainParams
from pipeline.errors import ModelError
from pipeline.paths import MODELS, WORK_VARIABLE
from tests.alignment.planted import HEAD, PARAMS, changed, planted, streamed
from tests.alignment.specs import fit_of, settings_of
from tests.alignment.toy import ROOT, World

STEPS = 18
MANY = {"plain": {}, "other": {"seed": 1, "lr": 1e-2, "dropout": 0.3}}


class Killed(BaseException):
    pass


class KilledAt(Checkpoint):
    """Writes after one step, and ends the process, as far as the training can see, after another."""

    def __init__(self, path: Path, written: int, killed: int) -> None:
        super().__init__(path, 1.0)
        self.step, self.at, self.killed = 0, written, killed

    def due(self) -> bool:
        self.step += 1
        if self.step > self.killed:
            raise Killed
        return self.step == self.at


def train(data: AlignmentData, params: TrainParams, checkpoint: Checkpoint | None = None) -> list[TrainedRepeat]:
    members = members_of(params, 0, 1, 0)
    return train_members(
        data, members, spec=HEAD, repeat=0, seed=0, on_record=lambda *_: None, checkpoint=checkpoint
    )  # fmt: skip


def same(results: list[TrainedRepeat], expected: list[TrainedRepeat]) -> None:
    for one, other in zip(results, expected, strict=True):
        assert (one.best_epoch, one.val_recall, one.samples_seen) == (
            other.best_epoch,
            other.val_recall,
            other.samples_seen,
        )
        for mine, theirs in zip(one.history, other.history, strict=True):
            timeless = {"samples_per_second": 0.0}
            assert mine.row() | timeless == theirs.row() | timeless
        for name, value in one.head.state_dict().items():
            assert torch.equal(value, other.head.state_dict()[name]), name


@pytest.mark.parametrize("mode", ["memory", "stream"])
def test_weights_after_a_kill_are_those_of_an_undisturbed_run(mode: str, tmp_path: Path) -> None:
    data = planted() if mode == "memory" else streamed(tmp_path / "store")
    params = changed(ema=0.7, validate_every=2, patience=7)
    expected = train(data, params)
    for written, killed in ((1, 1), (2, 4), (3, 3), (16, 17)):
        path = tmp_path / f"{written}.safetensors"
        with pytest.raises(Killed):
            train(data, params, KilledAt(path, written, killed))
        same(train(data, params, Checkpoint(path, 60.0)), expected)
        same(train(data, params, Checkpoint(path, 60.0)), expected)  # nothing is left to do


def test_several_members_resume_as_well(tmp_path: Path) -> None:
    data, params = planted(), changed(members=MANY)
    with pytest.raises(Killed):
        train(data, params, KilledAt(tmp_path / "state", 7, 9))
    same(train(data, params, Checkpoint(tmp_path / "state", 60.0)), train(data, params))


def test_a_checkpoint_holds_nested_tensors_and_plain_values(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "folder" / "state", 60.0)
    assert checkpoint.read() is None
    matrix = torch.arange(6).reshape(2, 3)
    weights = {"a.weight": matrix.T, "a.bias": torch.tensor(0.1).bfloat16(), "shared": matrix}
    state = {"heads": [weights, {}], "window": {"norms": None, "pairs": 3}, "history": [{"loss": 0.1, "name": "x"}]}
    checkpoint.write(state)
    read = checkpoint.read()
    assert read is not None
    assert read["window"] == state["window"]
    assert read["history"] == state["history"]
    assert read["heads"][1] == {}
    assert read["heads"][0].keys() == weights.keys()
    for name, value in weights.items():
        assert torch.equal(read["heads"][0][name], value), name
        assert read["heads"][0][name].dtype == value.dtype


def test_a_resumed_run_takes_only_the_steps_that_are_left(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        train(planted(), PARAMS, KilledAt(tmp_path / "state", 10, 12))
    counting = KilledAt(tmp_path / "state", 10**6, 10**6)
    train(planted(), PARAMS, counting)
    assert counting.step == STEPS - 10


def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "state"
    with pytest.raises(Killed):
        train(planted(), PARAMS, KilledAt(path, 5, 5))
    path.write_bytes(path.read_bytes()[:-50])
    with caplog.at_level(logging.WARNING):
        same(train(planted(), PARAMS, Checkpoint(path, 60.0)), train(planted(), PARAMS))
    assert f"The checkpoint {path} of the training is not used, and removed" in caplog.text


def flip(path: Path, byte: int, bit: int = 6) -> None:
    content = bytearray(path.read_bytes())
    content[byte] ^= 1 << bit
    path.write_bytes(content)


@pytest.mark.parametrize("place", [0.3, 0.6, 0.99])
def test_a_flipped_bit_in_a_checkpoint_is_found_and_the_one_before_is_taken(
    place: float, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class KilledTwice(KilledAt):
        def due(self) -> bool:
            return super().due() or self.step == 4

    path, expected = tmp_path / "state", train(planted(), PARAMS)
    with pytest.raises(Killed):
        train(planted(), PARAMS, KilledTwice(path, 8, 9))
    flip(path, int(path.stat().st_size * place))
    counting = KilledAt(path, 10**6, 10**6)
    with caplog.at_level(logging.WARNING):
        same(train(planted(), PARAMS, counting), expected)
    assert counting.step == STEPS - 4, "the checkpoint after step 4 is taken, not the damaged one after step 8"
    assert f"The checkpoint {path} of the training is not used, and removed" in caplog.text


def test_a_flipped_bit_in_the_plain_values_of_a_checkpoint_is_found(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "state", 60.0)
    checkpoint.write({"epoch": 123456, "weights": torch.ones(3)})
    flip(checkpoint.path, checkpoint.path.read_bytes().index(b"123456") + 3, bit=0)
    assert checkpoint.read() is None
    assert not checkpoint.path.exists()


def test_a_training_that_diverges_after_resuming_starts_again_from_the_beginning(tmp_path: Path) -> None:
    path = tmp_path / "state"
    with pytest.raises(Killed):
        train(planted(), PARAMS, KilledAt(path, 5, 5))
    state = Checkpoint(path, 60.0).read()
    assert state is not None
    next(iter(state["updater"]["heads"][0].values())).fill_(float("nan"))
    Checkpoint(path, 60.0).write(state)  # whole, with a valid checksum
    with pytest.raises(ModelError, match=r"resumed from .*state, which is removed.*run it again.*: lower train\.lr"):
        train(planted(), PARAMS, Checkpoint(path, 60.0))
    same(train(planted(), PARAMS, Checkpoint(path, 60.0)), train(planted(), PARAMS))


def test_a_full_disk_does_not_end_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(resume, "save_weights", full)
    with caplog.at_level(logging.WARNING):
        same(train(planted(), PARAMS, Checkpoint(tmp_path / "state", 1e-9)), train(planted(), PARAMS))
    assert "No space left on device" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_every_mode_leaves_out_the_first_batches(tmp_path: Path) -> None:
    for data in (planted(), streamed(tmp_path)):
        for skip in range(4):
            whole, rest = (
                list(data.features.epoch(data.train[0], 16, torch.Generator().manual_seed(0), 2, skip=n))
                for n in (0, skip)
            )
            assert len(rest) == len(whole) - skip
            for one, other in zip(rest, whole[skip:], strict=True):
                assert torch.equal(one.image_ids, other.image_ids)
                assert torch.equal(one.images.cls, other.images.cls)
                assert torch.equal(one.texts.tokens, other.texts.tokens)


def test_what_decides_the_weights_decides_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WORK_VARIABLE, str(tmp_path))
    data = planted()
    moved = planted()
    moved.features.images.inputs.cls[0] += 1  # type: ignore[attr-defined]
    same_name = training_folder(HEAD, PARAMS, data, 0)
    assert training_folder(HEAD, changed(checkpoint_seconds=3.0), planted(), 0) == same_name
    others = [
        training_folder(HEAD, changed(lr=2e-3), data, 0),
        training_folder(HEAD, changed(members=MANY), data, 0),
        training_folder(HEAD.model_copy(update={"embed_dim": 7}), PARAMS, data, 0),
        training_folder(HEAD, PARAMS, data, 1),
        training_folder(HEAD, PARAMS, planted(pairs=59), 0),
        training_folder(HEAD, PARAMS, moved, 0),
        training_folder(HEAD, PARAMS, streamed(tmp_path / "store"), 0),
    ]
    assert len({same_name, *others}) == 1 + len(others)


def test_checkpoints_of_an_ended_training_are_removed_and_old_ones_too(tmp_path: Path) -> None:
    for name in ("done", "recent", "old"):
        Checkpoint(tmp_path / name / "0.safetensors", 1.0).write({"x": torch.zeros(2)})
    past = time.time() - resume.FORGOTTEN_AFTER - 1
    for path in (tmp_path / "old" / "0.safetensors", tmp_path / "old"):
        os.utime(path, (past, past))
    forget(tmp_path / "done")
    assert [path.name for path in tmp_path.iterdir()] == ["recent"]


CHILD = """
import sys
from pipeline.alignment import fit_aligner
from pipeline.config import TrainSettings
fit_aligner(TrainSettings.model_validate_json(sys.argv[1]))
"""


def _saved(states: Path) -> list[Path]:
    """The state of the repeat that is being fitted; between two repeats there is none for a moment."""
    return list(states.glob("*/*.safetensors"))


@pytest.mark.usefixtures("world")
def test_a_killed_process_resumes_and_ends_in_the_same_files(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WORK_VARIABLE, str(world.root / "work"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    params = changed(epochs=10, batch_size=64, checkpoint_seconds=1e-3)
    settings = settings_of(fit_of(HEAD), params)
    states = world.root / "work" / "training"
    child = subprocess.Popen([sys.executable, "-c", CHILD, settings.model_dump_json()])
    curves = MODELS / "default" / "curves.csv"
    while child.poll() is None and not (curves.is_file() and curves.read_text().count("\n") > 2 and _saved(states)):
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL, "the run ended before it could be killed"
    (state,) = _saved(states)
    assert Checkpoint(state, 1.0).read() is not None
    fit_aligner(settings)
    resumed = {repeat: heads_path(MODELS / "default", repeat).read_bytes() for repeat in range(2)}
    lines = len(curves.read_text().splitlines())
    assert not list(states.iterdir())
    fit_aligner(settings_of(fit_of(HEAD), params.model_copy(update={"checkpoint_seconds": 0.0})))
    for repeat, content in resumed.items():
        assert heads_path(MODELS / "default", repeat).read_bytes() == content
    assert len(curves.read_text().splitlines()) == lines == 1 + 2 * 10
