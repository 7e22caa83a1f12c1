"""Single bits flipped in every kind of file. Each must be found and named, be repaired, or change no result."""

import os
import shutil
import signal
from collections import defaultdict
from pathlib import Path

import numpy as np

from benchmarks.campaign.compare import contents, digest
from benchmarks.campaign.kills import pick
from benchmarks.campaign.results import Outcome
from benchmarks.campaign.world import Stage, Trial, World, last, traced

WORK = ".dvc/permafrost"
CACHE = ".dvc/cache/files/md5"
TRAINED = "train@curated"  # the aligner that is trained in steps, and so has checkpoints
CONSUMERS = 2  # of those that read a damaged file, tried after a check that found nothing


def group_of(name: str) -> str:
    """The kind of file that one is, by its path in the project; "" for those that are not part of the campaign."""
    parts = name.split("/")
    if name.startswith(CACHE):
        return "DVC cache object"
    if name.startswith(f"{WORK}/scratch"):
        return "scratch shard" if len(parts) > 5 else "row memory"
    if name.startswith(WORK):
        return "row memory"
    if name == "dvc.lock":
        return name
    if parts[0] == "data" and parts[1].startswith("headline."):
        return "metrics and report"
    if parts[0] != "data" or len(parts) < 3:
        return ""
    if parts[1] == "features":
        metadata = {"manifest.json": "store manifest", "rows.parquet": "store rows", "zarr.json": "store metadata"}
        return metadata.get(parts[-1], "store shard")
    if parts[1] == "checkpoints":
        return "checkpoint weights" if parts[-1].endswith(".safetensors") else "checkpoint files"
    if parts[1] == "models":
        return "head weights" if parts[-1].endswith(".safetensors") else "head files"
    named = {
        "index": "index",
        "splits": "splits",
        "curation": "curation",
        "dense": "dense head",
        "settings": "settings",
    }
    return named.get(parts[1], "listing" if parts[1] == "listing" else "metrics and report")


def groups(world: World) -> dict[str, list[str]]:
    """All files of the project by kind."""
    found = defaultdict(list)
    for path in sorted(world.base.rglob("*")):
        name = path.relative_to(world.base).as_posix()
        if path.is_file() and path.stat().st_size and (group := group_of(name)):
            found[group].append(name)
    found["training checkpoint"] = []  # there once a training was killed
    return dict(sorted(found.items()))


def flip(trial: Trial, outcome: Outcome, rng: np.random.Generator) -> None:
    """Flip a bit and let everything that might notice or pass it on run."""
    kinds = groups(trial.world)
    group = list(kinds)[outcome.number % len(kinds)]
    outcome.what["group"] = group
    if group == "training checkpoint":
        kinds[group] = _killed_training(trial)
    name = pick(rng, kinds[group])
    path = trial.folder / name
    linked = bool(rng.random() < 0.5)
    if not linked:  # only this one of the names that DVC and scratch share
        copy = path.with_name(path.name + ".copy")
        shutil.copy2(path, copy)
        copy.replace(path)
    byte, bit = int(rng.integers(path.stat().st_size)), int(rng.integers(8))
    flip_bit(path, byte, bit)
    outcome.what |= {"file": name, "byte": byte, "bit": bit, "all links": linked}
    if group in ("training checkpoint", "scratch shard", "row memory"):
        _memory(trial, outcome, name, rng)
    elif group in ("DVC cache object", "dvc.lock"):
        _behind_dvc(trial, outcome, name)
    else:
        _output(trial, outcome, name, rng)
    if outcome.failed and not outcome.last:
        outcome.last = last(trial.said(), 12)


def flip_bit(path: Path, byte: int, bit: int) -> None:
    """In place, under all names of the file; its times stay."""
    state = path.stat()
    path.chmod(state.st_mode | 0o200)
    with open(path, "r+b") as file:
        file.seek(byte)
        old = file.read(1)[0]
        file.seek(byte)
        file.write(bytes([old ^ (1 << bit)]))
    path.chmod(state.st_mode)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def _output(trial: Trial, outcome: Outcome, name: str, rng: np.random.Generator) -> None:
    """An output of a stage: verify names it, or what reads it does, or nothing that reads it comes out otherwise."""
    code, said = trial.run("pipeline.store", "verify")
    if traced(said):
        outcome.failed = "verify ends with a traceback"
        return
    if code:
        outcome.how = "named by verify"
        if not _named(trial.world, name, said):
            outcome.failed, outcome.last = "verify does not name the file", last(said, 12)
            return
        if rng.random() < 0.1:
            _repaired(trial, outcome)
        return
    readers = [stage for stage in trial.world.stages.values() if any(_below(name, dep) for dep in stage.deps)]
    chosen = [readers[int(one)] for one in rng.permutation(len(readers))[:CONSUMERS]]
    outcome.what["readers"] = [stage.name for stage in chosen]
    for stage in chosen:
        if _read(trial, outcome, stage, name):
            return
    whole = (trial.folder / name).read_bytes() if (trial.folder / name).is_file() else b""
    if not readers and digest(name, whole) != trial.world.expected[name]:
        outcome.failed = "a result differs, and verify says that all is well"
        return
    outcome.how = "without effect on results"


def _read(trial: Trial, outcome: Outcome, stage: Stage, name: str) -> bool:
    """Run a stage that reads the damaged file; whether that settles the outcome."""
    trial.reset(stage)
    code, said = trial.run(*stage.command)
    if traced(said):
        outcome.failed = f"{stage.name} ends with a traceback"
        return True
    if code:
        outcome.how = f"named by {stage.kind}"
        if not _named(trial.world, name, said):
            outcome.failed, outcome.last = f"{stage.name} fails and does not name the file", last(said, 12)
        return True
    changed = different_outs(trial, stage)
    if changed:
        outcome.failed = f"silently different: {', '.join(changed)} of {stage.name}; verify says that all is well"
    return bool(changed)


def different_outs(trial: Trial, stage: Stage) -> list[str]:
    """Files of the outputs of a stage that are not what they should be."""
    found, wanted = contents(trial.folder), trial.world.expected
    names = {name for name in {*found, *wanted} if any(_below(name, out) for out in stage.outs)}
    return sorted(name for name in names if found.get(name) != wanted.get(name))


def _repaired(trial: Trial, outcome: Outcome) -> None:
    """`repair` must bring the bytes back, or say that it cannot."""
    code, said = trial.run("pipeline.store", "repair")
    if traced(said):
        outcome.failed = "repair ends with a traceback"
    elif code:
        outcome.how = "named by verify, repair refuses"
        outcome.what["repair"] = last(said)
    elif wrong := trial.finish("dvc", "repro") or "; ".join(trial.differences()):
        outcome.failed = f"after repair: {wrong}"
    else:
        outcome.how = "repaired"


def _memory(trial: Trial, outcome: Outcome, name: str, rng: np.random.Generator) -> None:
    """Something that spares work: what uses it must end in the same bytes, or fail once at most."""
    stage = _user(trial.world, name, rng)
    outcome.what["user"] = stage.name
    trial.reset(stage, cache=True)
    wrong = ""
    for attempt in range(2):
        code, said = trial.run(*stage.command)
        if traced(said):
            outcome.failed = f"{stage.name} ends with a traceback"
            return
        changed = [] if code else different_outs(trial, stage)
        if changed:
            outcome.how = "named by verify"
            if not trial.run("pipeline.store", "verify")[0]:
                outcome.failed = f"silently different: {', '.join(changed)} of {stage.name}"
            return
        if not code:
            outcome.how = "named once, then the same bytes" if attempt else "the same bytes"
            return
        wrong = last(said)
    outcome.failed, outcome.last = f"{stage.name} fails for ever", wrong


def _behind_dvc(trial: Trial, outcome: Outcome, name: str) -> None:
    """An object of the cache that a lost output is restored from, or the lock itself."""
    if name != "dvc.lock":
        node = (trial.folder / name).stat().st_ino
        outs = {out for stage in trial.world.stages.values() for out in stage.outs}
        lost = [p for p in (trial.folder / "data").rglob("*") if p.is_file() and p.stat().st_ino == node]
        lost = lost or [trial.folder / pick(np.random.default_rng(outcome.seed + outcome.number), sorted(outs))]
        places = {out for out in outs for path in lost if _below(path.relative_to(trial.folder).as_posix(), out)}
        for place in places:
            path = trial.folder / place
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        outcome.what["lost"] = sorted(places)
    wrong = trial.finish("dvc", "repro")
    if wrong:
        outcome.how = "named by repro"
        if traced(trial.said()):
            outcome.failed = "a traceback"
        return
    differing = trial.differences()
    if not differing:
        outcome.how = "the same bytes"
        return
    code, said = trial.run("pipeline.store", "verify")
    if traced(said):
        outcome.failed = "verify ends with a traceback"
    elif code:
        outcome.how = "named by verify"
    elif differing == ["dvc.lock differs"]:
        outcome.how = "another lock, the same results"
        if trial.finish("dvc", "repro") or trial.differences() not in ([], ["dvc.lock differs"]):
            outcome.failed = "; ".join(trial.differences())
    else:
        outcome.failed = f"silently different: {'; '.join(differing)}"


def _user(world: World, name: str, rng: np.random.Generator) -> Stage:
    """A stage that uses a memory."""
    stages = list(world.stages.values())
    if "/training/" in name:
        return world.stages[TRAINED]
    if "/scratch/" in name and name.count("/") > 3:
        node = (world.base / name).stat().st_ino
        for stage in stages:
            if stage.kind.startswith("encode"):
                folder = world.base / stage.outs[0]
                if any(path.stat().st_ino == node for path in folder.rglob("*") if path.is_file()):
                    return stage
        return pick(rng, [stage for stage in stages if stage.kind.startswith("encode")])
    return pick(rng, [stage for stage in stages if stage.kind in ("index", "encode", "train", "accounting")])


def _killed_training(trial: Trial) -> list[str]:
    """Kill a training after a checkpoint; the files that it leaves."""
    stage = trial.world.stages[TRAINED]
    for change in (4, 3, 5, 2):  # the one after the first checkpoint depends on how fast the machine is
        trial.reset(stage, cache=True)
        fault = {
            "program": " ".join(stage.command),
            "within": f"{WORK}/training",
            "change": change,
            "delay": 0.0,
            "signal": int(signal.SIGKILL),
            "group": True,
            "fired": str(trial.world.folder / "fired"),
        }
        trial.start(*stage.command, fault=fault).wait()
        left = [p for p in (trial.folder / WORK / "training").rglob("*") if p.is_file() and p.suffix != ".partial"]
        if found := [path.relative_to(trial.folder).as_posix() for path in left if path.stat().st_size]:
            return found
    raise RuntimeError("no kill of a training left a checkpoint")


def _below(name: str, place: str) -> bool:
    return name == place or name.startswith(place + "/")


def _named(world: World, name: str, said: str) -> bool:
    """Whether a message names the file, or the output that it is part of."""
    outs = [out for stage in world.stages.values() for out in stage.outs if _below(name, out)]
    store = [str(Path(name).relative_to(out)) for out in outs if name != out]
    return any(one in said for one in [name, *outs, *store])
