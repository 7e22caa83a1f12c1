"""Reading and writing features: this store, other formats, and the limits of the machine, on arrays of the same bytes.

    pip install -r benchmarks/requirements.txt   # the other formats; those that are missing are passed over
    python benchmarks/store.py [--small] [--folder /tmp/store-benchmark]

CLS features (1 M x 384) and patch tokens (4096 x 257 x 384), float16, about 0.8 GB each, written three times per format
after a round that is not counted.
Every format reads the same rows in a process of its own: random batches of 256 rows and everything in order, first with
the files in the page cache, then with them dropped from it (POSIX_FADV_DONTNEED after a sync). Warm figures are medians
of five rounds after one that is not counted; cold ones medians of three. A round of random batches ends after five
seconds, so that a slow format reads fewer of them. GB/s of useful bytes. Prints a table and writes
benchmarks/results/store.json.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from store_formats import FORMATS  # noqa: E402

OUT = ROOT / "benchmarks" / "results" / "store.json"
ARRAYS = {
    "cls": {"full": (1_000_000, 384), "small": (100_000, 384), "shard": 65536, "batches": 200, "cold_batches": 20},
    "patch": {
        "full": (4096, 257, 384),
        "small": (512, 257, 384),
        "shard": 256,
        "batches": 12,
        "cold_batches": 6,
    },
}
COLUMNS = ("warm random", "warm in order", "cold random", "cold in order", "write + fsync")
BATCH = 256
ROUND_SECONDS = 5.0


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


def one(format_name: str, name: str, size: str, folder: Path, phase: str) -> dict[str, Any]:
    """One phase of one format in this process: GB/s per column, each a list of rounds."""
    spec, kind = ARRAYS[name], FORMATS[format_name]
    shape = spec[size]
    row = int(np.prod(shape[1:])) * 2
    if phase == "write":
        values = values_of(name, size)
        seconds = []
        for _ in range(4):
            shutil.rmtree(folder, ignore_errors=True)
            started = time.perf_counter()
            kind.write(folder, values, int(spec["shard"]))
            seconds.append(time.perf_counter() - started)
        return {"write + fsync": [values.nbytes / s / 1e9 for s in seconds[1:]]}

    generator = np.random.default_rng(1)
    random = [generator.integers(0, shape[0], BATCH) for _ in range(spec["batches"])]
    if phase != "warm":
        drop(folder)
        random = random[: spec["cold_batches"]]
    reader = kind.open(folder)
    batch = np.empty((BATCH, *shape[1:]), np.float16)
    block = np.empty((min(shape[0], spec["shard"]), *shape[1:]), np.float16)

    def at_random() -> float:
        started, done = time.perf_counter(), 0
        while done < len(random) and time.perf_counter() - started < ROUND_SECONDS:
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
            found[f"{phase.split()[0]} {column}"] = [run() for _ in range(6 if phase == "warm" else 1)][-5:]
        except NotImplementedError as error:
            found[f"{phase.split()[0]} {column}"] = str(error)
    if phase == "warm":
        expected = values_of(name, size)[random[-1]]
        if "warm random" in found and not isinstance(found["warm random"], str):
            reader.take(random[-1], batch)
            assert np.array_equal(batch, expected), f"{format_name} reads other values"
    return found


def spawn(format_name: str, name: str, size: str, folder: Path, phase: str) -> dict[str, Any]:
    """`one` in a process of its own; {"error": ...} if the format is not installed or fails."""
    command = [sys.executable, __file__, "--one", format_name, name, size, str(folder), phase]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "killed"
        return {"error": last[:200]}
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def measure(name: str, size: str, folder: Path) -> dict[str, dict[str, Any]]:
    """All formats on one array."""
    results: dict[str, dict[str, Any]] = {}
    for format_name in FORMATS:
        place = folder / name / "".join(c if c.isalnum() else "_" for c in format_name)
        found = spawn(format_name, name, size, place, "write")
        if "error" not in found:
            for phase in ("warm", *("cold random", "cold in order") * 3):
                for column, rounds in spawn(format_name, name, size, place, phase).items():
                    if isinstance(rounds, str):
                        found[column] = rounds
                    else:
                        found[column] = [*found.get(column, []), *rounds]
        shutil.rmtree(place, ignore_errors=True)
        results[format_name] = found
        print(f"  {name}: {format_name}: {found.get('error', 'done')}", file=sys.stderr)
    return results


def table(name: str, results: dict[str, dict[str, Any]]) -> None:
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
    for text, ratio in ratios(results).items():
        print(f"this store / {text}: {ratio:.2f}")


def ratios(results: dict[str, dict[str, Any]]) -> dict[str, float]:
    """This store against the limits, the best other format and zarr-python, of medians."""

    def median(format_name: str, column: str) -> float | None:
        rounds = results[format_name].get(column)
        return statistics.median(rounds) if isinstance(rounds, list) else None

    found = {}
    memmap = "limit: take of memmap, readinto"
    for column in COLUMNS:
        own = median("this store", column)
        limits = [m for n, f in FORMATS.items() if f.limit and (m := median(n, column)) is not None]
        others = [
            m for n, f in FORMATS.items() if not f.limit and n != "this store" and (m := median(n, column)) is not None
        ]
        reference = max(limits) if column.startswith("cold") else median(memmap, column)
        if column == "write + fsync":  # a plain file each time, so all rounds of all limits are of one kind
            reference = statistics.median(s for n, f in FORMATS.items() if f.limit for s in results[n].get(column, ()))
        if own is None or reference is None:
            continue
        found[f"{'best limit' if column.startswith('cold') else 'limit'}, {column}"] = own / reference
        if others:
            found[f"best other format, {column}"] = own / max(others)
    own, zarr = median("this store", "warm random"), median("zarr-python", "warm random")
    if own is not None and zarr is not None:
        found["zarr-python, warm random"] = own / zarr
    return found


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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
    shutil.rmtree(given.folder, ignore_errors=True)
    results = {name: measure(name, size, given.folder) for name in ARRAYS}
    shutil.rmtree(given.folder, ignore_errors=True)
    for name, found in results.items():
        table(name, found)
    if not given.small:
        OUT.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "machine": describe_machine(),
            "arrays": {name: spec["full"] for name, spec in ARRAYS.items()},
            "unit": "GB/s",
            "results": results,
            "ratios": {name: ratios(found) for name, found in results.items()},
        }
        OUT.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
