"""The small project that every trial gets a copy of, and how what a trial leaves is compared with it."""

import compileall
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from benchmarks.campaign.compare import contents, lock_of
from tests.dag import tiny, zygote
from tests.dag.project import Project

HOOK = Path(__file__).with_name("hook.py")
ROWS = 48  # pictures, of tiny.PICTURES
DEADLINE = 240.0  # seconds after which a command counts as hanging


@dataclass(frozen=True)
class Stage:
    """A stage of the small project, with its item.

    Attributes:
        command: what follows `python -m`.
        deps, outs: paths in the project.
        seconds, changes: of an undisturbed run, changes of files as `hook.py` counts them.
    """

    name: str
    command: tuple[str, ...]
    deps: tuple[str, ...]
    outs: tuple[str, ...]
    seconds: float = 0.6
    changes: int = 12

    @property
    def kind(self) -> str:
        """Its template in dvc.yaml."""
        return self.name.partition("@")[0]


@dataclass
class World:
    """A finished small project, and a server that runs commands in copies of it.

    Attributes:
        folder: of the copies and logs.
        commands: the folder with `python` and `dvc` for the PATH.
        base: the finished project; never changed.
        raw: the folder of pictures and encoders.
        stages: by name, in an order in which they can run.
        replaced: digests of what an undisturbed run leaves with another input, by what is replaced.
    """

    folder: Path
    commands: Path
    base: Path
    raw: Path
    stages: dict[str, Stage] = field(default_factory=dict)
    replaced: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def project(self) -> Path:
        """Where the copies lie."""
        return self.folder / "project"

    @classmethod
    def around(cls, project: Project, folder: Path) -> "World":
        """A world in `folder` around a finished project, with guesses for what was not measured."""
        assert Project.commands is not None
        world = cls(folder, Project.commands, folder / "base", project.outside)
        folder.mkdir(parents=True)
        subprocess.run(["cp", "-a", str(project.folder), str(world.base)], check=True)
        world.stages = {name: _stage(name, entry) for name, entry in lock_of(world.base).items()}
        return world

    @cached_property
    def expected(self) -> dict[str, str]:
        """Digests of what an undisturbed run leaves."""
        return contents(self.base)

    def environment(self, project: Path, fault: dict[str, Any] | None = None) -> dict[str, str]:
        """For a command in the copy at `project`."""
        own = {
            "OMP_NUM_THREADS": "1",
            "TQDM_DISABLE": "1",
            "DVC_SITE_CACHE_DIR": f"{project}.site",
            zygote.JOIN: "1",
        }
        if fault is not None:
            own |= {zygote.FIRST: str(HOOK), "CAMPAIGN_FAULT": json.dumps({"root": str(project), **fault})}
        return Project(project, project, set()).environment() | own


@contextlib.contextmanager
def served(home: Path) -> Iterator[Path]:
    """The folder of commands for all workers, as long as the block lasts."""
    home.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(home / "bin", ignore_errors=True)
    os.environ["OMP_NUM_THREADS"] = "1"
    with zygote.commands(home / "bin", Project(home, home, set()).environment()) as commands:
        Project.commands = commands
        try:
            yield commands
        finally:
            Project.commands = None


def opened(home: Path, commands: Path, worker: int = 0) -> World:
    """The world of one worker, around the project in `home`, which the first to come makes."""
    folder = home / f"worker{worker}"
    folder.mkdir(exist_ok=True)
    world = World(folder, commands, home / "base", home / "raw")
    with open(home / "lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not world.base.is_dir():
            _make(world, home / "counts.jsonl")
    world.stages = _stages(world, home / "counts.jsonl")
    return world


def _make(world: World, counts: Path) -> None:
    """Start the project and run it once, with a line for each process in `counts`."""
    for folder in (world.project, world.raw):
        shutil.rmtree(folder, ignore_errors=True)
    counts.unlink(missing_ok=True)
    for name, seed in (("eye-a", 0), ("eye-b", 1)):
        tiny.write_image_checkpoint(world.raw / name, seed)
    tiny.write_text_checkpoint(world.raw / "words-a", 3)
    tiny.write_pictures(world.raw / "pictures")
    for path in world.raw.rglob("*"):
        os.utime(path, (1.6e9, 1.6e9))
    params = tiny.tiny_params(world.raw, ROWS)
    params["train"] |= {"epochs": 6, "checkpoint_seconds": 0.001}  # each validated step leaves a checkpoint
    project = Project.started(world.project, world.raw, params)
    project.run("dvc", "repro", **world.environment(world.project, {"count": str(counts)}))
    project.commit("first run")
    shutil.rmtree(f"{world.project}.site")
    for name in ("pipeline", "stages"):
        compileall.compile_dir(world.project / name, quiet=1)  # once, and not in every process of a trial
    world.project.rename(world.base)


def _stages(world: World, counted_in: Path) -> dict[str, Stage]:
    counted = [json.loads(line) for line in counted_in.read_text().splitlines()]
    counts = {line["program"].removesuffix(" "): line for line in counted}
    stages = {name: _stage(name, entry) for name, entry in lock_of(world.base).items()}
    for name, stage in stages.items():
        line = counts[" ".join(stage.command)]
        stages[name] = replace(stage, seconds=line["seconds"], changes=line["changes"])
    order = [line["program"] for line in counted]
    return dict(sorted(stages.items(), key=lambda item: order.index(" ".join(item[1].command))))


def _stage(name: str, entry: dict[str, Any]) -> Stage:
    """As dvc.lock has it."""
    command = tuple(entry["cmd"].removeprefix("python -m ").split())
    deps = tuple(one["path"] for one in entry.get("deps", []))
    return Stage(name, command, deps, tuple(one["path"] for one in entry["outs"]))


class Trial:
    """A copy of the project that may be harmed."""

    def __init__(self, world: World, log: Path) -> None:
        self.world = world
        self.folder = world.project
        self.log = log
        log.unlink(missing_ok=True)
        self.folder.mkdir(exist_ok=True)
        subprocess.run(["cp", "-a", f"{world.base}/.", f"{self.folder}/"], check=True)

    def start(self, *command: str, fault: dict[str, Any] | None = None, log: Path | None = None) -> zygote.Running:
        """Start `python -m <command>`; "dvc ..." too."""
        log = log or self.log
        with open(log, "a", encoding="utf-8") as file:
            file.write(f"\n$ {' '.join(command)}\n")
        environment = self.world.environment(self.folder, fault)
        return zygote.Running(self.world.commands / "socket", command, self.folder, environment, log)

    def run(self, *command: str) -> tuple[int, str]:
        """Exit code and what was said; code 124 if it hangs and was killed."""
        mark = self.log.stat().st_size if self.log.exists() else 0
        running = self.start(*command)
        code = running.wait(DEADLINE)
        if code is None:
            running.kill()
            code = 124
        return code, self.said(mark)

    def said(self, mark: int = 0) -> str:
        """The log from a byte on."""
        with open(self.log, "rb") as file:
            file.seek(mark)
            return file.read().decode("utf-8", "replace")

    def finish(self, *command: str) -> str:
        """Run a command as a user does after a crash; before `dvc repro`, what `make repro` begins with.

        Returns:
            "" or what is wrong.
        """
        before = [("pipeline.config",), ("pipeline.dvc_lock",)] if command[0] == "dvc" else []
        for one in (*before, command):
            code, said = self.run(*one)
            if code:
                return f"`{' '.join(one)}` ends with {code}: {last(said)}"
        return ""

    def reset(self, stage: Stage, *, cache: bool = False, scratch: bool = False) -> None:
        """Forget what a stage wrote; in DVC's cache and in the work folder too, if wished."""
        for out in stage.outs:
            path = self.folder / out
            if cache:
                self._forget_objects(path)
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        if scratch:
            work = self.folder / ".dvc" / "permafrost"
            if stage.kind.startswith("encode"):
                for folder in (work / "scratch").glob("*/"):
                    shutil.rmtree(folder)
            if stage.kind == "index":
                (work / "known-images.sqlite").unlink(missing_ok=True)

    def _forget_objects(self, path: Path) -> None:
        for file in [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]:
            md5 = hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()
            (self.folder / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]).unlink(missing_ok=True)

    def unlock(self, stages: list[Stage]) -> None:
        """Forget these stages in dvc.lock, so that DVC runs them."""
        path = self.folder / "dvc.lock"
        lock = yaml.safe_load(path.read_text(encoding="utf-8"))
        for stage in stages:
            lock["stages"].pop(stage.name, None)
        path.write_text(yaml.safe_dump(lock, sort_keys=False), encoding="utf-8")

    def differences(self, expected: dict[str, str] | None = None) -> list[str]:
        """What is not as an undisturbed run leaves it, a line each; the first ten."""
        wanted, found = expected or self.world.expected, contents(self.folder)
        lines = [f"{name} is missing" for name in sorted(set(wanted) - set(found))]
        lines += [f"{name} is extra" for name in sorted(set(found) - set(wanted))]
        lines += [f"{name} differs" for name in sorted(wanted) if found.get(name, wanted[name]) != wanted[name]]
        return lines[:10]

    def leftovers(self) -> list[str]:
        """Files that a killed run left in data, a line each."""
        return [f"{path.relative_to(self.folder)} is left over" for path in (self.folder / "data").rglob("*.partial*")]

    def wait_for_orphans(self, running: zygote.Running) -> None:
        """Until nobody of the group is left."""
        began = time.monotonic()
        while time.monotonic() - began < DEADLINE:
            try:
                os.killpg(running.pid, 0)
            except ProcessLookupError:
                return
            time.sleep(0.02)

    def remove(self) -> None:
        """Delete the copy; its log stays."""
        shutil.rmtree(self.folder, ignore_errors=True)  # all but its root where that is a mount
        shutil.rmtree(f"{self.folder}.site", ignore_errors=True)


def traced(said: str) -> bool:
    """Whether Python's own account of an error is in what was said, or a message for an error that nobody foresaw."""
    return "Traceback (most recent call last)" in said or "This is a fault of the program" in said


def last(said: str, lines: int = 6) -> str:
    """The last lines of a log."""
    return "\n".join(said.strip().splitlines()[-lines:])
