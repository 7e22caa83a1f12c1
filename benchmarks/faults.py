"""What the project survives: kills, flipped bits, full disks, two processes at once, replaced inputs.

    python benchmarks/faults.py [--kinds store kills flips full pairs replaced] [--kills 200] [--flips 300] [--full 40]
        [--pairs 20] [--replaced 10] [--seed 0] [--workers 1] [--resume JOURNAL]

`store` is a synthetic encode alone: SIGKILLs at random moments, each rerun until done, whose bytes must be those of an
undisturbed run; and single bits flipped in random files of a store, each of which must be found and named, and be
repaired by encoding no more rows than those of the damaged shard, none where metadata was hit.

The other kinds are trials over every stage of a small project (`benchmarks/campaign`), each from a seed of its own.
Prints what was tried, what held and what did not, with every failure, and writes benchmarks/results/faults.json. Full
disks are small file systems in memory, which only root may mount. With a journal a campaign that was stopped goes on.
"""

import argparse
import json
import logging
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.accounting.machine import describe_machine
from pipeline.encoding import run
from pipeline.encoding.plan import Plan
from pipeline.encoding.protocol import Batch
from pipeline.features import ArraySpec, Fingerprint, publish
from pipeline.features.manifest import read_manifest, write_manifest
from pipeline.features.shards import ShardWriter
from pipeline.features.verify import verify
from pipeline.paths import WORK_VARIABLE
from pipeline.store.repair import rewrite

OUT = Path(__file__).resolve().parent / "results" / "faults.json"
COUNTS = {"kills": 200, "flips": 300, "full": 40, "pairs": 20, "replaced": 10}
FINGERPRINT = Fingerprint({"weights": "synthetic"})
PLAN = Plan(tuple(f"id{number}" for number in range(90)), 16)
PHASES = ("starting", "encoding rows", "writing a shard", "publishing", "writing the manifest")


class Synthetic:
    """Features made of the number in the id; `pause` seconds per batch of 8."""

    def __init__(self, pause: float = 0.0) -> None:
        self.specs: tuple[ArraySpec, ...] = (
            ArraySpec("cls", (2, 24), "float16"),
            ArraySpec("grid", (4, 24), "float16"),
        )
        self.notes: dict[str, object] = {"patch_grid": [2, 2]}
        self._pause = pause

    def encode(self, ids: Sequence[str]) -> Iterator[Batch]:
        """See `RowEncoder`; every id that ends in 13 fails."""
        for start in range(0, len(ids), 8):
            positions = list(range(start, min(start + 8, len(ids))))
            numbers = np.array([float(ids[position][2:]) for position in positions])
            arrays = {
                spec.name: np.sin(
                    numbers[:, None, None] + np.arange(np.prod(spec.row_shape)).reshape(1, *spec.row_shape)
                )
                for spec in self.specs
            }
            time.sleep(self._pause)
            yield Batch(positions, arrays, ["unreadable" if ids[p].endswith("13") else None for p in positions])


def encode(folder: Path, pause: float = 0.0) -> run.EncodeSummary:
    """Encode the synthetic data set into `folder`/store, with `folder`/work for scratch."""
    os.environ[WORK_VARIABLE] = str(folder / "work")
    job = run.StoreEncoder("synthetic", FINGERPRINT, lambda: Synthetic(pause), max_failure_rate=0.5)
    return job.run(PLAN, folder / "store")


def contents(store: Path) -> dict[str, bytes]:
    """All files of a store by path."""
    return {p.relative_to(store).as_posix(): p.read_bytes() for p in sorted(store.rglob("*")) if p.is_file()}


def slow_encode(folder: Path, phase: Any) -> None:
    """`encode`, slowed down wherever it touches the disk, saying in `phase` which of `PHASES` it is in."""

    def within(number: int, function: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any, **named: Any) -> Any:
            before, phase.value = phase.value, number
            try:
                return function(*arguments, **named)
            finally:
                phase.value = before

        return called

    def slowed(function: Callable[..., Any], pause: float) -> Callable[..., Any]:
        def called(*arguments: Any, **named: Any) -> Any:
            time.sleep(pause)
            done = function(*arguments, **named)
            time.sleep(pause)
            return done

        return called

    tqdm.set_lock(threading.RLock())  # its usual lock is one between processes, which a killed one leaks
    with (
        patch.object(os, "fsync", slowed(os.fsync, 0.002)),
        patch.object(os, "replace", slowed(os.replace, 0.004)),
        patch.object(os, "link", slowed(os.link, 0.002)),
        patch.object(ShardWriter, "_publish", within(2, ShardWriter._publish)),
        patch.object(run, "publish", within(3, publish.publish)),
        patch.object(publish, "write_manifest", within(4, slowed(write_manifest, 0.004))),
    ):
        phase.value = 1
        encode(folder, pause=0.004)


def kills(folder: Path, count: int, generator: np.random.Generator) -> dict[str, Any]:
    """Kill `count` encodes at random moments, let each end by reruns, and compare the bytes.

    Raises:
        AssertionError: a store differs from that of an undisturbed run, or its check finds damage.
    """
    encode(folder / "undisturbed")
    expected = contents(folder / "undisturbed" / "store")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([run.__name__, rewrite.__module__, "pyarrow.parquet", "zarr"])

    def attempt(target: Path, seconds: float | None) -> tuple[bool, int, float]:
        """Whether it was killed, in which phase, and after how many seconds from its beginning it ended."""
        phase = context.Value("i", 0, lock=False)
        process = context.Process(target=slow_encode, args=(target, phase))
        process.start()
        while phase.value == 0 and process.is_alive():
            time.sleep(0.0005)
        started = time.monotonic()
        process.join(seconds)
        process.kill()
        process.join()
        if seconds is None and process.exitcode != 0:
            raise AssertionError(f"an undisturbed encode ended with {process.exitcode}")
        return process.exitcode != 0, int(phase.value), time.monotonic() - started

    whole = statistics.median(attempt(folder / f"timed{number}", None)[2] for number in range(3))
    where: Counter[str] = Counter()
    reruns, series = [], 0
    while sum(where.values()) < count:
        target, runs = folder / f"series{series}", 1
        series += 1
        while sum(where.values()) < count:
            killed, phase, _ = attempt(target, float(generator.uniform(0, whole)))
            if not killed:
                break
            where[PHASES[phase]] += 1
            runs += 1
            if generator.random() < 0.5:
                attempt(target, None)
                break
        else:
            attempt(target, None)
        reruns.append(runs)
        found = verify(target / "store")
        assert found.intact, [str(damage) for damage in found.damages]
        assert contents(target / "store") == expected, f"{target} differs from an undisturbed run"
        assert not list(target.rglob("*.partial")), "a killed run left something behind"
    return {
        "kills": sum(where.values()),
        "where": {phase: where[phase] for phase in PHASES if where[phase]},
        "series": series,
        "runs_per_series": max(reruns),
        "undisturbed_seconds": round(whole, 3),
        "same_bytes": series,
    }


def flip(path: Path, byte: int, bit: int) -> None:
    """Flip one bit in place, under all names of the file; its modification time stays."""
    state = path.stat()
    with open(path, "r+b") as file:
        file.seek(byte)
        old = file.read(1)[0]
        file.seek(byte)
        file.write(bytes([old ^ (1 << bit)]))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def _append_encoded(summaries: list[run.EncodeSummary], folder: Path) -> None:
    summaries.append(encode(folder))


def flips(folder: Path, count: int, generator: np.random.Generator) -> dict[str, Any]:
    """Flip `count` bits one after another, find each, repair it.

    Raises:
        AssertionError: one was not found or not named, or was not repaired with as few rows as it takes.
    """
    encode(folder)
    store = folder / "store"
    expected, manifest = contents(store), read_manifest(store)
    assert manifest is not None
    names = sorted(expected)
    order = [*generator.permutation(names), *generator.choice(names, max(0, count - len(names)))][:count]
    hit: Counter[str] = Counter()
    encoded = {"payload": 0, "metadata": 0}
    seconds = []
    for name in map(str, order):
        flip(store / name, int(generator.integers(len(expected[name]))), int(generator.integers(8)))
        damages = verify(store).damages
        assert [(damage.path, damage.kind) for damage in damages] == [(name, "changed")], (name, damages)
        summaries: list[run.EncodeSummary] = []
        started = time.monotonic()
        rewrite(store, partial(_append_encoded, summaries, folder))
        seconds.append(time.monotonic() - started)
        record = manifest.files.get(name)
        rows = 0 if record is None or record.rows is None else record.rows[1] - record.rows[0]
        assert sum(summary.encoded for summary in summaries) == rows, (name, rows, summaries)
        assert contents(store) == expected, f"after {name} was repaired the bytes differ"
        kind = "payload" if rows else "metadata"
        hit[kind] += 1
        encoded[kind] += rows
    again = rewrite(store, lambda: None)
    assert not again.needed, again
    return {
        "flips": len(order),
        "files": len(names),
        "files_hit": len(set(order)),
        "found": len(order),
        "repaired": len(order),
        "payload": hit["payload"],
        "metadata": hit["metadata"],
        "rows": len(PLAN.ids),
        "rows_encoded_again": encoded,
        "repair_seconds": {"median": round(statistics.median(seconds), 4), "highest": round(max(seconds), 4)},
    }


def store_alone(kill_count: int, flip_count: int, seed: int) -> dict[str, Any]:
    """Both trials of the synthetic store, printed.

    Raises:
        AssertionError: a fault was not survived.
    """
    os.environ["TQDM_DISABLE"] = "1"
    logging.getLogger("pipeline").setLevel(logging.ERROR)
    generator = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as temporary:
        killed = kills(Path(temporary) / "kills", kill_count, generator)
        flipped = flips(Path(temporary) / "flips", flip_count, generator)
    print(
        f"{killed['kills']} SIGKILLs in {killed['series']} encodes (at most {killed['runs_per_series']} runs each): "
        "all ended in the bytes of an undisturbed run"
    )
    for phase, number in killed["where"].items():
        print(f"  {number:4d} while {phase}")
    print(
        f"{flipped['flips']} flipped bits in {flipped['files_hit']} of {flipped['files']} files: "
        "all found, all repaired"
    )
    for kind in ("payload", "metadata"):
        print(f"  {flipped[kind]:4d} in {kind}: {flipped['rows_encoded_again'][kind]} rows encoded again")
    return {"kills": killed, "flips": flipped}


def over_stages(given: argparse.Namespace, counts: dict[str, int]) -> dict[str, Any]:
    """The campaign over the small project; returns its summary."""
    from benchmarks.campaign.results import Journal, summary, table
    from benchmarks.campaign.run import campaign, in_turns
    from benchmarks.campaign.world import served

    folder = given.folder or Path(tempfile.mkdtemp(prefix="faults-"))
    journal = Journal(given.resume or folder / "trials.jsonl")
    done = {(one.kind, one.number) for one in journal.read() if one.seed == given.seed}
    todo = [one for one in in_turns(counts) if one not in done]
    until = time.time() + given.minutes * 60
    context = multiprocessing.get_context("fork")
    alone = [one for one in todo if one[0] == "replaced"]  # they change raw files, which all workers share
    together = [one for one in todo if one not in alone]
    with served(folder) as commands:
        for phase in ([together[part :: given.workers] for part in range(given.workers)], [alone]):
            parts = [
                context.Process(
                    target=campaign, args=(folder, commands, part, journal, share, given.seed, until, commit())
                )
                for part, share in enumerate(phase)
                if share
            ]
            for process in parts:
                process.start()
            for process in parts:
                process.join()
    asked = set(in_turns(counts))
    found = summary(one for one in journal.read() if one.seed == given.seed and (one.kind, one.number) in asked)
    print(table(found))
    if given.folder is None and not found["failures"]:
        shutil.rmtree(folder)
    return found


def commit() -> str:
    """The commit of this code, "" outside of a clone."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, cwd=OUT.parent, capture_output=True, text=True, check=False).stdout.strip()


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kinds", nargs="+", choices=("store", *COUNTS), default=["store", *COUNTS])
    for name, count in COUNTS.items():
        parser.add_argument(f"--{name}", type=int, default=count, help=f"trials of this kind ({count})")
    parser.add_argument("--store-kills", type=int, default=50)
    parser.add_argument("--store-flips", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1, help="trials at a time")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no trial after so many")
    parser.add_argument("--resume", type=Path, help="a file that notes each trial; those in it are not run again")
    parser.add_argument("--folder", type=Path, help="where projects and logs lie, and stay")
    given = parser.parse_args()
    found: dict[str, Any] = json.loads(OUT.read_text(encoding="utf-8")) if OUT.is_file() else {}
    found |= {"machine": describe_machine(), "seed": given.seed, "commit": commit()}
    if "store" in given.kinds:
        found |= store_alone(given.store_kills, given.store_flips, given.seed)
    counts = {name: getattr(given, name) for name in COUNTS if name in given.kinds}
    if counts:
        found["stages"] = over_stages(given, counts)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
