"""Full disks, two processes at once, and inputs that are replaced while a stage runs."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.campaign.compare import contents
from benchmarks.campaign.kills import pick
from benchmarks.campaign.results import Outcome
from benchmarks.campaign.world import DEADLINE, Stage, Trial, World, last, traced
from tests.dag import tiny

ROOM = "256m"
_BUSY = re.compile(r"process \d+|PID \d+|[Ll]ock|in use|is writing|another", re.IGNORECASE)
_FULL = re.compile(r"[Nn]o space|full|ENOSPC|Errno 28")


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A file system in memory at `folder`, of `ROOM` to begin with."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def resize(folder: Path, size: str) -> None:
    """Give a mounted file system another size."""
    subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)


def full(trial: Trial, outcome: Outcome, rng: np.random.Generator) -> None:
    """Run on a file system with little room, then with enough. `trial` lies on a `small_disk`."""
    stages = list(trial.world.stages.values())
    kinds = sorted({stage.kind for stage in stages})
    stage = pick(rng, [one for one in stages if one.kind == kinds[outcome.number % len(kinds)]])
    whole = bool(rng.random() < 0.25)
    forgotten = [stage, *(pick(rng, stages) for _ in range(3))] if whole else [stage]
    size = sum(allocated(trial.folder / out) for one in forgotten for out in one.outs)
    for one in forgotten:
        trial.reset(one, cache=True, scratch=True)
    if whole:
        trial.unlock(forgotten)
    room = 4096 * int(rng.integers(0, 3 + 2 * size // 4096 if rng.random() < 0.6 else 4))
    state = os.statvfs(trial.folder)
    used = (state.f_blocks - state.f_bfree) * state.f_frsize
    command = ("dvc", "repro") if whole else stage.command
    outcome.what |= {"group": "dvc repro" if whole else stage.kind, "stage": stage.name, "room": room}
    resize(trial.folder, str(max(used + room, 4096)))
    code, said = trial.run(*command)
    resize(trial.folder, ROOM)
    outcome.how = "said so" if code else "had room enough"
    if traced(said):
        outcome.failed = "a traceback on a full disk"
    elif code and not _FULL.search(said):
        outcome.failed = "the message does not say that the disk is full"
    outcome.last = last(said, 12) if outcome.failed else ""
    wrong = trial.finish(*command) or "; ".join(trial.differences() + trial.leftovers())
    if wrong:
        outcome.failed = f"{outcome.failed}; with room: {wrong}".lstrip("; ")
        outcome.last += last(trial.said(), 12)


def allocated(path: Path) -> int:
    """Bytes of the pages that a file or folder takes."""
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sum(-(-file.stat().st_size // 4096) * 4096 for file in files)


STORE_COMMANDS = (("gc", "--yes"), ("verify",), ("repair",), ("ls",))
PAIRS = (
    ("encode", "gc"),
    ("encode", "same"),
    ("encode", "encode"),
    ("encode", "repair"),
    ("train", "verify"),
    ("train", "same"),
    ("repro", "gc"),
    ("repro", "repro"),
    ("repro", "verify"),
    ("repro", "repair"),
    ("index", "same"),
    ("checkpoint", "encode"),
    ("encode", "train"),
    ("encode", "verify"),
    ("gc", "gc"),
    ("repair", "gc"),
    ("splits", "same"),
    ("scenes", "same"),
    ("evaluate", "same"),
    ("repro", "encode"),
)


def pair(trial: Trial, outcome: Outcome, rng: np.random.Generator) -> None:
    """Two commands at once: both end well, or one says who is in its way."""
    names = PAIRS[outcome.number % len(PAIRS)]
    outcome.what["group"] = " + ".join(names)
    stages = list(trial.world.stages.values())
    forgotten: list[Stage] = []

    def command(name: str) -> tuple[str, ...]:
        for one in STORE_COMMANDS:
            if one[0] == name:
                return ("pipeline.store", *one)
        if name == "repro":
            forgotten.extend(pick(rng, stages) for _ in range(3))
            return ("dvc", "repro")
        stage = pick(rng, [one for one in stages if one.kind == name])
        forgotten.append(stage)
        return tuple(stage.command)

    first = command(names[0])
    second = first if names[1] == "same" else command(names[1])
    for stage in forgotten:
        trial.reset(stage, cache=True, scratch=True)
    if "repro" in names:
        trial.unlock(forgotten)
    pause = float(rng.uniform(0.0, 0.8))
    outcome.what |= {"commands": [" ".join(first), " ".join(second)], "pause": round(pause, 3)}
    logs = [Path(f"{trial.log}.{number}") for number in (1, 2)]
    running = []
    for one, log in zip((first, second), logs, strict=True):
        log.unlink(missing_ok=True)
        running.append(trial.start(*one, log=log))
        if len(running) == 1:
            time.sleep(pause)
    codes = [one.wait(DEADLINE) for one in running]
    said = [log.read_text("utf-8", "replace") for log in logs]
    with open(trial.log, "a", encoding="utf-8") as file:
        file.write("".join(f"\n== {text}" for text in said))
    for one in running:
        one.kill()
    outcome.how = "both ended well"
    for code, text, one in zip(codes, said, (first, second), strict=True):
        if code is None:
            outcome.failed, outcome.last = f"`{' '.join(one)}` hangs", last(text, 12)
        elif traced(text):
            outcome.failed, outcome.last = f"`{' '.join(one)}` ends with a traceback", last(text, 12)
        elif code:
            outcome.how = "one said what is in its way"
            if not _BUSY.search(text):
                outcome.failed = f"`{' '.join(one)}` fails and does not say who is in its way"
                outcome.last = last(text, 12)
    wrong = trial.finish("dvc", "repro") or "; ".join(trial.differences() + trial.leftovers())
    if not wrong:
        code, text = trial.run("pipeline.store", "verify")
        wrong = f"verify ends with {code}: {last(text)}" if code else ""
    if wrong:
        outcome.failed = f"{outcome.failed}; afterwards: {wrong}".lstrip("; ")
        outcome.last += last(trial.said(), 12)


RAW = ("picture", "captions", "encoder")  # inputs from outside of the project
REPLACED = (*RAW, "checkpoint", "index", "store")


def replaced(trial: Trial, outcome: Outcome, rng: np.random.Generator) -> None:
    """An input is exchanged while a stage reads it. Afterwards `dvc repro` must lead to what the new input gives; where
    it is a file of DVC's own that was exchanged, to what it was."""
    kind = REPLACED[outcome.number % len(REPLACED)]
    outcome.what["group"] = kind
    world = trial.world
    if kind in RAW:
        expected = world.replaced[kind]
        readers = {"picture": ("index", "encode", "scenes"), "captions": ("index",), "encoder": ("checkpoint",)}[kind]
    else:
        expected = world.expected
        readers = {"checkpoint": ("encode",), "index": ("encode", "splits"), "store": ("train", "compare", "curate")}[
            kind
        ]
    eye = [s for s in world.stages.values() if s.kind in readers and "words" not in s.name and "blind" not in s.name]
    stage = pick(rng, eye or [s for s in world.stages.values() if s.kind in readers])
    share = float(rng.uniform(0.2, 1.0))
    outcome.what |= {"stage": stage.name, "share": round(share, 3)}
    trial.reset(stage, cache=True, scratch=True)
    trial.unlock([stage])
    running = trial.start("dvc", "repro", "--single-item", stage.name)
    time.sleep(share * (stage.seconds + 1.0))
    with raw_restored(world) if kind in RAW else contextlib.nullcontext():
        exchange(trial, kind)
        code = running.wait(DEADLINE)
        running.kill()
        outcome.how = "ended well" if code == 0 else "said so"
        said = trial.said()
        if traced(said):
            outcome.failed, outcome.last = "a traceback", last(said, 12)
        if kind == "encoder":  # nothing tells that a local model has changed: forget its copy, as the page says
            trial.reset(world.stages["checkpoint@eye"])
            trial.unlock([world.stages["checkpoint@eye"]])
        wrong = trial.finish("dvc", "repro")
        if not wrong:
            wrong = "; ".join(trial.differences(expected))
        if wrong:
            code, said = trial.run("pipeline.store", "verify")
            if code and not traced(said):
                outcome.how = "named by verify"
                outcome.what["afterwards"] = wrong
                return
            outcome.failed = f"{outcome.failed}; afterwards: {wrong}".lstrip("; ")
            outcome.last += last(trial.said(), 12)


def exchange(trial: Trial, kind: str) -> None:
    """Replace an input by another of its kind."""
    raw = trial.world.raw
    if kind == "picture":
        shutil.copy(raw / "pictures" / "anchor-blue.png", raw / "new.png")
        os.utime(raw / "new.png", (1.7e9, 1.7e9))
        os.replace(raw / "new.png", raw / "pictures" / "bridge-red.png")
    elif kind == "captions":
        path = raw / "pictures" / "captions.csv"
        text = path.read_text(encoding="utf-8").replace("a red anchor", "a drawing of red anchor")
        partial = raw / "new.csv"
        partial.write_text(text, encoding="utf-8")
        os.utime(partial, (1.7e9, 1.7e9))
        os.replace(partial, path)
    elif kind == "encoder":
        shutil.rmtree(raw / "eye-a")
        tiny.write_image_checkpoint(raw / "eye-a", 7)
        for path in (raw / "eye-a").rglob("*"):
            os.utime(path, (1.7e9, 1.7e9))
    elif kind == "checkpoint":
        other = trial.folder / "data" / "checkpoints" / "blind" / "model.safetensors"
        _swap(other, trial.folder / "data" / "checkpoints" / "eye" / "model.safetensors")
    elif kind == "index":
        folder = trial.folder / "data" / "index"
        _swap(folder / "scenes" / "composed" / "images.parquet", folder / "pairs" / "mine" / "images.parquet")
    else:
        folder = trial.folder / "data" / "features" / "pairs"
        for name in ("cls/c/0/0/0", "mean/c/0/0/0"):
            if (folder / "eye" / "mine" / name).is_file():
                _swap(folder / "blind" / "mine" / name, folder / "eye" / "mine" / name)


def _swap(new: Path, old: Path) -> None:
    copy = old.with_name("new")
    shutil.copy(new, copy)
    os.replace(copy, old)


@contextlib.contextmanager
def raw_restored(world: World) -> Iterator[None]:
    """Pictures and encoders are as they were after the block."""
    kept = world.folder / "raw-kept"
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(world.raw, kept)
    for path in [world.raw, *world.raw.rglob("*")]:
        shutil.copystat(path, kept / path.relative_to(world.raw))
    try:
        yield
    finally:
        shutil.rmtree(world.raw)
        kept.rename(world.raw)


def prepare(world: World, number: int) -> None:
    """Run the whole project once with the new input of a trial, where no trial before had the same."""
    kind = REPLACED[number % len(REPLACED)]
    if kind not in RAW or kind in world.replaced:
        return
    known = world.folder / f"replaced-{kind}.json"
    if not known.is_file():
        trial = Trial(world, world.folder / f"replaced-{kind}.log")
        with raw_restored(world):
            exchange(trial, kind)
            for stage in world.stages.values():
                trial.reset(stage, cache=True, scratch=True)
            (trial.folder / "dvc.lock").unlink()
            if wrong := trial.finish("dvc", "repro"):
                raise RuntimeError(wrong)
            known.write_text(json.dumps(contents(trial.folder)))
        trial.remove()
    world.replaced[kind] = json.loads(known.read_text())
