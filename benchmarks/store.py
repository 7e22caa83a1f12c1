"""Reading and writing features: this store, other formats, and the limits of the machine, on arrays of the same bytes.

    pip install -r benchmarks/requirements.txt   # the other formats; those that are missing are passed over
    python benchmarks/store.py [--array cls|patch] [--small] [--folder /tmp/store-benchmark]

CLS features (1 M x 384) and patch tokens (4096 x 257 x 384), float16, about 0.8 GB each, in shards of 100 MB. In each
round all formats take their turn, every one in a process of its own, so that what is compared was measured within a
minute or two: a disk and a page cache that change from minute to minute then weigh on both sides of a ratio. A round
writes the array after a time that is not counted, reads random batches of 256 rows, and everything in order in blocks
of 25 MB, after a pass that is not counted, with the files in the page cache, and reads the same with them dropped from
it (POSIX_FADV_DONTNEED after a sync, once the reader has opened them and again before the clock starts). A pass of
random batches ends after one second; a slow format reads fewer. What is read into begins at a cache line, as memory of
PyTorch does. Before files are written or read into the page cache, memory is touched and freed: a virtual machine whose
host takes free memory back would else measure how fast its host gives pages. GB/s of useful bytes, median over the
rounds; a ratio is the median of the ratios within each round. Prints a table and writes benchmarks/results/store.json;
--array measures one array and keeps what is there of the other.
"""

import argparse
import json
import mmap
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from store_formats import FORMATS, row_ids  # noqa: E402

from pipeline.features.memory import aligned_empty  # noqa: E402

OUT = ROOT / "benchmarks" / "results" / "store.json"
VALUES = "values"
ARRAYS = {
    "cls": {"full": (1_000_000, 384), "small": (100_000, 384), "shard": 131072, "batches": 200, "cold_batches": 20},
    "patch": {
        "full": (4096, 257, 384),
        "small": (512, 257, 384),
        "shard": 512,
        "batches": 12,
        "cold_batches": 6,
    },
}
COLUMNS = ("warm random", "warm in order", "cold random", "cold in order", "write + fsync")
BATCH = 256
WHOLE = ("safetensors", "embedding-reader (npy)")  # one plain array in a file, without chunks or checksums
PASS_SECONDS = 1.0
ROUNDS = 3
BACKED = 3 << 30  # bytes touched beforehand: the array twice, and what readers hold
PHASES = ("write", "warm", "cold random", "cold in order")
Results = dict[str, dict[str, Any]]  # per format, per column: GB/s of each round, or why there is none


def values_of(name: str, size: str) -> np.ndarray:
    """The same random array in every process."""
    shape = ARRAYS[name][size]
    bits = np.random.default_rng(0).integers(0, 0x7800, size=shape, dtype=np.uint16)  # finite float16 of all magnitudes
    return bits.view(np.float16)


def drop(folder: Path) -> None:
    """Have the kernel forget the files; they are on disk and mapped by nobody."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def fill(folder: Path) -> None:
    """Have the page cache hold the files as reading them in order leaves them, whatever a reader did before."""
    drop(folder)
    piece = bytearray(16 << 20)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with open(path, "rb", buffering=0) as file:
                while file.readinto(piece):
                    pass


def back_memory() -> None:
    """Have the host of a virtual machine back what will be written to: pages stay backed for a while when freed."""
    memory = np.empty(BACKED, np.uint8)
    memory[:: mmap.PAGESIZE] = 1


def one(format_name: str, name: str, size: str, folder: Path, phase: str) -> dict[str, Any]:
    """One phase of one format in this process: GB/s per column, or why there is none."""
    spec, kind = ARRAYS[name], FORMATS[format_name]
    shape = spec[size]
    row = int(np.prod(shape[1:])) * 2
    values = np.fromfile(folder.parent / VALUES, np.float16).reshape(shape) if phase in ("write", "warm") else None
    if phase == "write":
        row_ids(len(values))  # a user has ids before there is anything to write
        for _ in range(2):
            shutil.rmtree(folder, ignore_errors=True)
            os.sync()  # a file system that discards deleted blocks does so at a commit: not at one that is timed
            back_memory()
            started = time.perf_counter()
            kind.write(folder, values, int(spec["shard"]))
            seconds = time.perf_counter() - started
        return {"write + fsync": values.nbytes / seconds / 1e9}

    generator = np.random.default_rng(1)
    random = [generator.integers(0, shape[0], BATCH) for _ in range(spec["batches"])]
    (fill if phase == "warm" else drop)(folder)
    reader = kind.open(folder)
    if phase != "warm":
        random = random[: spec["cold_batches"]]
        drop(folder)  # a reader may ask for all that it has opened
    batch = aligned_empty((BATCH, *shape[1:]), np.float16)
    block = aligned_empty((min(shape[0], spec["shard"] // 4), *shape[1:]), np.float16)
    back_memory()

    def at_random() -> float:
        started, done = time.perf_counter(), 0
        while done < len(random) and time.perf_counter() - started < PASS_SECONDS:
            reader.take(random[done], batch)
            done += 1
        return done * BATCH * row / (time.perf_counter() - started) / 1e9

    def in_order() -> float:
        started = time.perf_counter()
        for start in range(0, shape[0] - len(block) + 1, len(block)):
            reader.read(start, start + len(block), block)
        return shape[0] // len(block) * len(block) * row / (time.perf_counter() - started) / 1e9

    found: dict[str, Any] = {}
    for column, run in (("random", at_random), ("in order", in_order)):
        if phase not in ("warm", f"cold {column}"):
            continue
        try:
            found[f"{phase.split()[0]} {column}"] = warmed(run) if phase == "warm" else run()
        except NotImplementedError as error:
            found[f"{phase.split()[0]} {column}"] = str(error)
    if phase == "warm":
        expected = values[random[-1]]
        if not isinstance(found["warm random"], str):
            reader.take(random[-1], batch)
            assert np.array_equal(batch, expected), f"{format_name} reads other values"
    return found


def warmed(run: Callable[[], float]) -> float:
    """Median of up to nine passes within two seconds after one that is not counted."""
    started, passes = time.perf_counter(), [run()]
    while len(passes) < 2 or (len(passes) < 10 and time.perf_counter() - started < 2 * PASS_SECONDS):
        passes.append(run())
    return statistics.median(passes[1:])


def spawn(format_name: str, name: str, size: str, folder: Path, phase: str) -> dict[str, Any]:
    """`one` in a process of its own; {"error": ...} if the format is not installed or fails."""
    command = [sys.executable, __file__, "--one", format_name, name, size, str(folder), phase]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "killed"
        return {"error": last[:200]}
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def measure(name: str, size: str, folder: Path) -> Results:
    """All formats on one array, in turn, round by round."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    values_of(name, size).tofile(folder / VALUES)
    results: Results = {format_name: {} for format_name in FORMATS}
    for phase in PHASES:
        for number in range(ROUNDS):
            for format_name, found in results.items():
                if "error" in found:
                    continue
                place = folder / "".join(c if c.isalnum() else "_" for c in format_name)
                for column, value in spawn(format_name, name, size, place, phase).items():
                    if isinstance(value, str):
                        found[column] = value
                    else:
                        found.setdefault(column, []).append(value)
            print(f"  {name}: {phase}, round {number + 1} of {ROUNDS}", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    return results


def table(name: str, results: Results) -> None:
    """Print medians and, for this store, the ratio to the best limit of each column."""
    print(f"\n{name}: GB/s, median (lowest to highest)")
    print(f"{'':34}" + "".join(f"{column:>24}" for column in COLUMNS))
    for format_name, found in results.items():
        cells = []
        for column in COLUMNS:
            rounds = found.get(column)
            if isinstance(rounds, list):
                cells.append(f"{statistics.median(rounds):.3f} ({min(rounds):.2f} to {max(rounds):.2f})")
            else:
                cells.append("-" if "error" in found or rounds is None else "in order only")
        print(f"{format_name:34}" + "".join(f"{cell:>24}" for cell in cells) + ("  " + found.get("error", "")))
    for text, (ratio, low, high) in ratios(results).items():
        print(f"this store / {text}: {ratio:.2f} ({low:.2f} to {high:.2f})")


def ratios(results: Results) -> dict[str, tuple[float, float, float]]:
    """This store against a limit, the best of the other formats, and zarr-python: median and range over the rounds.

    The limit is that of a plain file read or written as numpy and the system do it; cold, the fastest of the three.
    """
    own = results["this store"]
    others = [name for name, kind in FORMATS.items() if not kind.limit and name != "this store"]
    chunked = [name for name in others if name not in WHOLE]
    limits = [name for name, kind in FORMATS.items() if kind.limit]
    found = {}
    for column in COLUMNS:
        cold = column.startswith("cold")
        found[f"{'best ' * cold}limit, {column}"] = (column, limits if cold else limits[:1])
        found[f"best chunked format, {column}"] = (column, chunked)
        found[f"best other format, {column}"] = (column, others)
    found["zarr-python, warm random"] = ("warm random", ["zarr-python"])
    paired = {}
    for text, (column, against) in found.items():
        measured = [name for name in against if isinstance(results[name].get(column), list)]
        if measured and isinstance(own.get(column), list):
            best = max(measured, key=lambda name: statistics.median(results[name][column]))
            rounds = [mine / theirs for mine, theirs in zip(own[column], results[best][column], strict=True)]
            label = text if len(against) == 1 else f"{text} ({best})"
            paired[label] = (statistics.median(rounds), min(rounds), max(rounds))
    return paired


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--array", choices=[*ARRAYS], help="measure one of the two")
    parser.add_argument("--small", action="store_true", help="a tenth of the rows; nothing is written to results/")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/store-benchmark"))
    parser.add_argument("--one", nargs=5, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        format_name, name, size, folder, phase = given.one
        print(json.dumps(one(format_name, name, size, Path(folder), phase)))
        return
    from pipeline.accounting.machine import describe_machine

    size = "small" if given.small else "full"
    kept: dict[str, Any] = json.loads(OUT.read_text(encoding="utf-8")) if OUT.is_file() else {}
    content: dict[str, Any] = {"machine": describe_machine(), "unit": "GB/s", "arrays": {}, "results": {}, "ratios": {}}
    for name in ARRAYS:
        if given.array in (None, name):
            results = measure(name, size, given.folder)
            table(name, results)
            part: dict[str, Any] = {"arrays": ARRAYS[name]["full"], "results": results, "ratios": ratios(results)}
        else:
            part = {key: kept.get(key, {}).get(name) for key in ("arrays", "results", "ratios")}
        for key, value in part.items():
            content[key][name] = value
    if not given.small:
        OUT.parent.mkdir(parents=True, exist_ok=True)
        OUT.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
