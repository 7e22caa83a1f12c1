"""Trained by several processes, a head is that of one: curves, weights, checkpoints; and what goes wrong is told."""

import csv
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.alignment import fit_aligner, processes
from pipeline.alignment.data.load import AlignmentData
from pipeline.alignment.heads.build import build_head
from pipeline.alignment.losses.objective import Objective
from pipeline.alignment.processes import ALONE, TIMEOUT_VARIABLE, Processes, device_of, joined
from pipeline.alignment.saved import heads_path
from pipeline.alignment.sealed_weights import load_weights
from pipeline.alignment.training.members import Member
from pipeline.alignment.training.repeats import train_heads
from pipeline.alignment.training.update import Updater
from pipeline.config import TrainSettings, load_config
from pipeline.errors import ConfigError
from pipeline.launched import Launch, launched
from pipeline.paths import MODELS, WORK_VARIABLE
from tests.alignment.launching import PATIENCE, environment, kill_tree, said, start, wait
from tests.alignment.planted import CPU, HEAD, PARAMS, changed, planted
from tests.alignment.specs import fit_of, head_of, settings_of
from tests.alignment.together import CASES, Case, data_of, train
from tests.alignment.toy import World

CLOSE = 1e-5
TOGETHER = ("-m", "tests.alignment.together")


@pytest.fixture(scope="module")
def by_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes made of every case."""
    folder = tmp_path_factory.mktemp("together")
    codes = wait(start(2, [*TOGETHER, str(folder), *CASES], folder))
    assert codes == [0, 0], said(folder, 0) + said(folder, 1)
    return folder


def assert_same(found: Mapping[str, Any], expected: Mapping[str, Any], close: float = CLOSE) -> None:
    assert len(found["curve"]) == len(expected["curve"]) > 1
    for mine, theirs in zip(found["curve"], expected["curve"], strict=True):
        assert mine == pytest.approx(theirs, rel=close, abs=close)
    assert found["weights"].keys() == expected["weights"].keys()
    for name, value in expected["weights"].items():
        torch.testing.assert_close(found["weights"][name], value, rtol=close, atol=close)


@pytest.mark.parametrize("name", CASES)
def test_two_processes_train_as_one(name: str, by_two: Path, tmp_path: Path) -> None:
    expected = train(CASES[name], tmp_path)
    first, second = (torch.load(by_two / f"{name}.{rank}.pt") for rank in range(2))
    assert_same(first, expected, CASES[name].close)
    assert first["samples"] == second["samples"] == expected["samples"]
    for key, value in first["weights"].items():
        assert torch.equal(value, second["weights"][key]), f"{key} is another in each process"


def test_every_case_would_notice_another_seed(tmp_path: Path) -> None:
    """The figures that are compared are not the same whatever is computed."""
    one, other = (train(Case("freeze-align", params={"dropout": rate}), tmp_path) for rate in (0.2, 0.3))
    with pytest.raises(AssertionError):
        assert_same(one, other)


@pytest.mark.parametrize("mode", ["resident", "shared", "streamed"])
def test_each_process_reads_its_own_rows_of_the_batches_of_one(mode: str, tmp_path: Path) -> None:
    def batches(processes: Processes, skip: int = 0) -> list[Any]:
        data = data_of(mode, tmp_path / f"{processes.rank}-{processes.count}-{skip}", processes)
        return list(data.features.epoch(data.train[0], 17, torch.Generator().manual_seed(3), 2, skip))

    whole = batches(ALONE)
    for skip in (0, 2):
        shares = [batches(Processes(rank, 3), skip) for rank in range(3)]
        for number, batch in enumerate(whole[skip:]):
            parts = [share[number] for share in shares]
            assert all(torch.equal(part.image_ids, batch.image_ids) for part in parts)
            assert all(torch.equal(part.text_ids, batch.text_ids) for part in parts)
            sizes = [len(part.images) for part in parts]
            assert sizes == [len(part.texts) for part in parts]
            assert max(sizes) - min(sizes) <= 1
            assert torch.equal(torch.cat([part.images.cls for part in parts]), batch.images.cls)
            assert torch.equal(torch.cat([part.images.local for part in parts]), batch.images.local)
            assert torch.equal(torch.cat([part.texts.tokens for part in parts]), batch.texts.tokens)
        assert len(shares[0]) == len(whole) - skip


def test_shares_are_runs_that_make_up_the_whole() -> None:
    for count in (1, 2, 3, 7):
        for rows in (count, 13, 1024, 1025):
            shares = [range(rows)[Processes(rank, count).share(rows)] for rank in range(count)]
            assert [row for share in shares for row in share] == list(range(rows))
            assert max(map(len, shares)) - min(map(len, shares)) <= 1


def outcome(folder: Path) -> dict[str, Any]:
    """The curves and weights of an aligner in `folder`, in the form of `train`."""
    lines = list(csv.DictReader((folder / "curves.csv").read_text().splitlines()))
    curve = [{key: float(value) for key, value in line.items() if key != "samples_per_second"} for line in lines]
    weights = {
        f"{repeat}.{name}": value
        for repeat in range(2)
        for name, value in load_weights(heads_path(folder, repeat))[0].items()
    }
    return {"curve": curve, "weights": weights}


@pytest.fixture
def params(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A world with params.yaml, whose aligner `default` trains for some seconds and saves its state at every step."""
    monkeypatch.setenv(WORK_VARIABLE, str(world.root / "work"))
    world.config(train={"epochs": 12, "batch_size": 25, "checkpoint_seconds": 1e-3, "patience": 0, "min_steps": 0})
    return world


def torchrun(count: int, stage: str = "train") -> subprocess.Popen[str]:
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count), "-m", f"stages.{stage}"]
    with open("torchrun.txt", "w", encoding="utf-8") as messages:
        arguments = [sys.executable, *command, "+item=default"]
        return subprocess.Popen(arguments, env=environment(), stdout=messages, stderr=messages, text=True)


@pytest.mark.long
def test_killed_and_resumed_by_two_or_by_one_it_ends_as_undisturbed(params: World) -> None:
    curves, work = MODELS / "default" / "curves.csv", params.root / "work"
    killed = torchrun(2)
    until = time.monotonic() + PATIENCE
    while not (curves.is_file() and curves.read_text().count("\n") > 4):
        assert killed.poll() is None, Path("torchrun.txt").read_text()
        assert time.monotonic() < until
        time.sleep(0.01)
    kill_tree(killed)
    assert not (MODELS / "default" / "config.json").exists(), "it ended before it could be killed"
    (checkpoints,) = (work / "training").iterdir()
    shutil.copytree(work, "kept")

    resumed = torchrun(2)
    assert resumed.wait(PATIENCE) == 0, Path("torchrun.txt").read_text()
    assert "Repeat 0 resumes after" in Path("torchrun.txt").read_text()
    assert not checkpoints.exists(), "the checkpoints of an ended training are removed"
    by_two = outcome(MODELS / "default")

    shutil.rmtree(work)
    shutil.move("kept", work)
    settings = load_config(params.root / "params.yaml").settings("train", "default")
    assert isinstance(settings, TrainSettings)
    fit_aligner(settings)
    assert not checkpoints.exists(), "one process found the checkpoint of two"
    by_one = outcome(MODELS / "default")
    fit_aligner(settings)
    undisturbed = outcome(MODELS / "default")
    assert_same(by_two, undisturbed)
    assert_same(by_one, undisturbed)


def started(folder: Path) -> bool:
    """Whether both processes have finished the first of two cases."""
    return all((folder / f"pairs.{rank}.pt").exists() for rank in range(2))


@pytest.mark.long
@pytest.mark.parametrize(("sent", "lost"), [(signal.SIGKILL, 1), (signal.SIGSTOP, 0)])
def test_a_process_that_dies_or_hangs_ends_the_other(sent: signal.Signals, lost: int, tmp_path: Path) -> None:
    both = start(2, [*TOGETHER, str(tmp_path), "pairs", *["mixup"] * 10_000], tmp_path, **{TIMEOUT_VARIABLE: "3"})
    until = time.monotonic() + PATIENCE
    while not started(tmp_path):
        assert time.monotonic() < until
        time.sleep(0.01)
    os.kill(both[lost].pid, sent)
    try:
        assert both[1 - lost].wait(PATIENCE) == 1
    finally:
        both[lost].kill()
    message = said(tmp_path, 1 - lost)
    assert f"error: Process {1 - lost} of 2 can no longer reach the others" in message
    assert "or was silent for 3 seconds" in message
    assert "goes on from its last checkpoint" in message
    assert "Traceback" not in message


AMONG = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"} | {
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500",
}


def test_a_process_knows_its_number() -> None:
    assert launched(AMONG) == Launch(1, 2, 1, 2)
    assert not launched(AMONG).first
    assert launched({}) == launched({"WORLD_SIZE": "1"}) == Launch()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"MASTER_ADDR": ""},
            r"WORLD_SIZE is '2'.*but MASTER_ADDR is not set.*torchrun --standalone.*unset WORLD_SIZE",
        ),
        ({"MASTER_PORT": "", "RANK": ""}, r"but RANK, MASTER_PORT are not set"),
        ({"LOCAL_RANK": ""}, r"but LOCAL_RANK is not set"),
        ({"RANK": "2"}, r"RANK='2', WORLD_SIZE='2', .* do not describe one of several processes"),
        ({"WORLD_SIZE": "two"}, r"WORLD_SIZE='two'.* do not describe"),
        ({"WORLD_SIZE": "0"}, r"WORLD_SIZE='0'.* do not describe"),
        ({"LOCAL_WORLD_SIZE": "3"}, r"LOCAL_WORLD_SIZE='3' do not describe"),
    ],
)
def test_a_wrong_environment_is_told(change: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        launched(AMONG | change)


def test_each_process_takes_the_gpu_of_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(processes, "choose_device", str)
    second, third = Launch(1, 4, 1, 2), Launch(2, 3, 2, 3)
    for wanted in ("auto", "cuda"):
        assert device_of(second, wanted) == torch.device("cuda", 1)
        with pytest.raises(ConfigError, match=r"3 processes were started.*it has 2 GPUs.*--nproc-per-node 2"):
            device_of(third, wanted)
    assert device_of(third, "cpu") == torch.device("cpu")
    assert device_of(Launch(1, 2, 0, 1), "cuda:1") == torch.device("cuda", 1)
    with pytest.raises(ConfigError, match=r"train.device: cuda:1 names one GPU for the 2 processes"):
        device_of(second, "cuda:1")
    with pytest.raises(ConfigError, match=r"train.device: mps cannot be used by several processes"):
        device_of(second, "mps")


def test_without_gpus_several_processes_take_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_of(Launch(1, 2, 1, 2), "auto") == torch.device("cpu")
    with pytest.raises(ConfigError, match="device 'cuda' cannot be used here"):
        device_of(Launch(1, 2, 1, 2), "cuda")


@pytest.fixture
def among_two(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in AMONG.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("world", "among_two")
@pytest.mark.parametrize(
    "head",
    [head_of("closed-form", forms={"cca": {}}, local_tokens="mean"), head_of("identity")],
    ids=["closed", "identity"],
)
def test_what_is_computed_is_not_computed_twice(head: Any) -> None:
    with pytest.raises(ConfigError, match=r"a head (closed-form|identity), runs in one process, and 2 were started"):
        fit_aligner(settings_of(fit_of(head), PARAMS))
    assert not MODELS.exists()


def test_what_processes_cannot_share_is_refused() -> None:
    """Both are told in every process before anything is sent, so that none is left waiting."""
    with pytest.raises(ConfigError, match=r"train.members are trained side by side by one process, and 2 were started"):
        train_heads("x", HEAD, changed(members={"a": {}, "b": {}}), several(2), 1, 0, Path("nowhere"))
    with pytest.raises(ConfigError, match=r"A batch of repeat 0 has 13 pairs.*Start at most 13 processes"):
        train_heads("x", HEAD, PARAMS, several(14), 1, 0, Path("nowhere"))


def several(count: int) -> AlignmentData:
    return replace(planted(), processes=Processes(1, count))


@pytest.mark.parametrize("step", ["compiled", "captured"])
def test_steps_of_several_processes_are_eager(
    step: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Processes, "copy_from_first_", lambda *_: None)
    together, params = Processes(1, 2), changed(step=step)
    with caplog.at_level(logging.WARNING):
        updater = Updater([build_head(HEAD, 8, 6)], [Member("", 0, params)], Objective(HEAD.loss), together)
    assert f"train.step: {step} is for one process; the steps of 2 are eager" in caplog.text
    assert updater._update == updater._eager


@pytest.mark.parametrize("seconds", ["soon", "-1", "nan"])
def test_a_wrong_timeout_is_told(seconds: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TIMEOUT_VARIABLE, seconds)
    with pytest.raises(ConfigError, match=TIMEOUT_VARIABLE), joined(Launch(1, 2, 1, 2), CPU):
        pass


def test_other_stages_are_refused(params: World) -> None:
    one_of_two = start(1, ["-m", "stages.evaluate", "+item=default"], params.root, WORLD_SIZE="2", LOCAL_WORLD_SIZE="2")
    assert wait(one_of_two) == [1]
    assert "error: The stage evaluate runs in one process, and 2 were started" in said(params.root, 0)


DIFFERENT = """
from pipeline.alignment.processes import joined
from pipeline.failures import reported
from pipeline.launched import launched
from tests.alignment.planted import CPU
with reported("different"), joined(launched(), CPU) as processes:
    processes.require_same(b"same", "Features")
    processes.require_same(bytes([processes.rank]), "Parameters")
"""


def test_processes_that_would_train_on_other_things_are_named(tmp_path: Path) -> None:
    assert wait(start(2, ["-c", DIFFERENT], tmp_path)) == [1, 1]
    for rank in range(2):
        assert "error: Parameters of process 1 differ from those of process 0" in said(tmp_path, rank)
