"""Training on cached features: speed beside its limits and rivals, large batches, many members, closed forms, tokens.

    python benchmarks/train.py [--parts a b c d e f] [--pairs 16384] [--batches 1024 ...] [--rows 10000 ...] [--small]

Run at the root of the project; (b) needs its checkpoints and indices, (f) its features as well. Each part prints a
table and puts its figures into benchmarks/results/train.json, beside those of the parts that were run before:

- a: the trainer, resident and streamed, against the same step on tensors in memory;
- b: 30 epochs from the cache, in SAIL's way and with encoders in the loop;
- c: time and memory of a step at batches of 1 k to 64 k pairs;
- d: 8 configurations in one pass against one;
- e: closed forms in one pass at 10 k to 5 M rows against reading their bytes;
- f: score and cost of CLS, CLS and mean, region means and all tokens.
"""

import argparse
import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.training import batches, closed, loading, members, rivals, tokens  # noqa: E402
from pipeline.accounting.machine import describe_machine  # noqa: E402

OUT = ROOT / "benchmarks" / "results" / "train.json"
BATCHES = (1024, 2048, 4096, 8192, 16_384, 32_768, 65_536)
ROWS = (10_000, 100_000, 1_000_000, 5_000_000)


def merged(before: Sequence[dict[str, Any]], now: Sequence[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    """Lines of an earlier run and of this one, which win, in the order of `key`."""
    rows = {row[key]: row for row in (*before, *now)}
    return [rows[value] for value in sorted(rows)]


def results() -> dict[str, Any]:
    """What was written by earlier runs, by part."""
    found: dict[str, Any] = json.loads(OUT.read_text(encoding="utf-8")) if OUT.is_file() else {}
    return found


def main() -> None:
    """Measure the parts asked for, print, merge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=list("abcdef"), default=list("abcdef"))
    parser.add_argument("--pairs", type=int, default=16_384, help="of (b)")
    parser.add_argument("--batches", nargs="+", type=int, default=BATCHES, help="of (c)")
    parser.add_argument("--rows", nargs="+", type=int, default=ROWS, help="of (e)")
    parser.add_argument(
        "--tokens", nargs="+", choices=list(tokens.VARIANTS), default=list(tokens.VARIANTS), help="of (f)"
    )
    parser.add_argument("--work", type=Path, default=None, help="folder for (f), kept; else a temporary one")
    parser.add_argument("--small", action="store_true", help="a quick check of the script; writes nothing")
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    small, project = given.small, Path.cwd()
    found = {} if small else results()

    def part_b() -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as temporary:
            return rivals.measure(*((2048, 64) if small else (given.pairs, 256)), Path(temporary))

    def part_c() -> list[dict[str, Any]]:
        return merged(found.get("c", []), batches.measure([256] if small else list(given.batches)), "batch_size")

    def part_e() -> list[dict[str, Any]]:
        return merged(found.get("e", []), closed.measure([5_000] if small else list(given.rows)), "rows")

    def part_f() -> dict[str, Any]:
        if given.work is not None:
            return tokens.measure(project, given.work.resolve(), given.tokens)
        with tempfile.TemporaryDirectory() as temporary:
            return tokens.measure(project, Path(temporary), given.tokens)

    parts: dict[str, tuple[Callable[[], Any], Callable[[Any], list[str]]]] = {
        "a": (lambda: loading.measure(small), loading.table),
        "b": (part_b, rivals.table),
        "c": (part_c, batches.table),
        "d": (lambda: members.measure(small), members.table),
        "e": (part_e, closed.table),
        "f": (part_f, tokens.table),
    }
    for name in given.parts:
        measure, table = parts[name]
        part = measure()
        print("\n".join(table(part)), flush=True)
        if not small:
            conditions = {"threads": torch.get_num_threads(), "load_average": os.getloadavg()[0]}
            found = results()
            found["conditions"] = found.get("conditions", {}) | {name: conditions}
            found |= {"machine": describe_machine(), name: part}
            OUT.parent.mkdir(parents=True, exist_ok=True)
            OUT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
