"""How many pairs a recipe of alignment needs: computed and trained heads on a hundred pairs and on a million.

    python benchmarks/few_pairs.py real [--data DIR] [--only NAME ...]       # DIR is the folder `data` of a run
    python benchmarks/few_pairs.py synthetic [--only NAME ...] [--settings NAME ...] [--sizes PAIRS ...]
    python benchmarks/few_pairs.py captions [--data DIR] [--only NAME ...]
    python benchmarks/few_pairs.py show                                      # tables, and the plot of docs/few_pairs.md

`real`: every recipe of docs/recipes.md on 100, 300, 1,000 and all training pairs of the default (`make repro`), drawn
evenly, smaller parts inside larger ones, five repeats. The families for development, which no repeat tests, are left
out of train and validation and are what is tested (docs/protocols.md); the test splits are read nowhere. Every choice
is made on the validation split of the repeat, which stays whole: computed heads choose among six values (Procrustes
has none, and `default` stays as it is in params.yaml), trained ones among three learning rates and all validated steps
of at most 300. Score: mean over emoji and stamps of R@1 both ways. Intervals resample families and count repeats.

`synthetic`: pairs from worlds whose best possible retrieval is known (benchmarks/few_study/worlds.py), up to a million.

`captions`: further captions of the training images as positives: CLDR keywords, WordNet glosses, templates.

A row is appended to a file in data/benchmarks/few_pairs (`--parts`) when it is done, and is not fitted again. `--quick`
is for tests: toy sizes.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.few_study import synthetic
from benchmarks.few_study.hits import bits
from benchmarks.few_study.synthetic import COMPUTED, SETTINGS, TRAINED, Study
from pipeline.accounting.machine import describe_machine
from pipeline.files import write_json

ROOT = Path(__file__).resolve().parent
OUT = ROOT / "results" / "few_pairs.json"
PLOT = ROOT.parent / "docs" / "pictures" / "few_pairs.png"
QUICK_SIZES = (50, 100)


class Parts:
    """Rows that are done, one JSON object a line, found again by what they are of.

    Args:
        path: of the file, which may not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        self._found = {self._key(row): row for row in map(json.loads, lines)}

    def get(self, **of: Any) -> dict[str, Any] | None:
        """The row of these values, if it is done."""
        return self._found.get(self._key(of))

    def add(self, row: dict[str, Any]) -> None:
        """Take a row and write it."""
        self._found[self._key(row)] = row
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._found.values())

    @staticmethod
    def _key(row: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(row.get(name) for name in ("setting", "row", "size", "added", "seed"))


def wanted(name: str, given: argparse.Namespace) -> bool:
    """Whether `--only` lets a row pass."""
    return not given.only or name in given.only


def run_synthetic(given: argparse.Namespace) -> None:
    """Fit what is missing, smallest sizes first."""
    parts = Parts(given.parts / "synthetic.jsonl")
    sizes = given.sizes or (QUICK_SIZES if given.quick else synthetic.SIZES)
    for size in sizes:
        for setting in given.settings or SETTINGS:
            for seed in range(given.worlds):
                names = [name for name in (*COMPUTED, *TRAINED) if wanted(name, given)]
                missing = [name for name in names if parts.get(setting=setting, row=name, size=size, seed=seed) is None]
                if missing:
                    fit_synthetic(parts, setting, size, seed, missing, given.quick)


def fit_synthetic(parts: Parts, setting: str, size: int, seed: int, missing: list[str], quick: bool) -> None:
    """Fit rows in one drawn world."""
    study = Study(SETTINGS[setting], seed, size, tested=60 if quick else synthetic.TESTED)
    common = {"setting": setting, "seed": seed}
    if parts.get(**common, row="ceiling") is None:
        for name, hits in (("ceiling", study.ceiling()), ("cosine of the latents", study.cosines())):
            parts.add({**common, "row": name, "hits": bits(hits), "linear_share": study.linear_share()})
    if computed := set(missing) & set(COMPUTED):
        for name, hits, more in study.computed(size, computed):
            if name in missing:
                report(parts, {**common, "row": name, "size": size, "hits": bits(hits), **more}, float(hits.mean()))
    for name in (name for name in missing if name in TRAINED):
        hits, more = study.trained(name, size)
        report(parts, {**common, "row": name, "size": size, "hits": bits(hits), **more}, float(hits.mean()))


def report(parts: Parts, row: dict[str, Any], value: float) -> None:
    """Write a row and say so."""
    parts.add(row)
    of = " ".join(str(row[name]) for name in ("setting", "added", "size", "seed", "row") if name in row)
    print(f"{of}: {value:.4f}, {row['seconds']:.1f} s", flush=True)


def run_real(given: argparse.Namespace) -> None:
    """Fit what is missing."""
    from benchmarks.few_study.real import SIZES, Curve, rows  # with torch and the features, which `show` does not need
    from benchmarks.recipe_study.bundle import Bundle

    parts, curve = Parts(given.parts / "real.jsonl"), Curve(Bundle.of_project())
    for size in given.sizes or ((100,) if given.quick else curve.sizes(SIZES)):
        for name, keys in rows(curve.bundle.meta["default"]).items():
            if wanted(name, given) and parts.get(row=name, size=size) is None:
                add_real(parts, {"row": name, "size": size}, curve.parts(keys, size), curve)


def add_real(parts: Parts, of: dict[str, Any], found: list[dict[str, Any]], curve: Any) -> None:
    """Write a row of embedded pairs."""
    from benchmarks.few_study.real import Answers

    value = Answers(curve.bundle).figures(found, None)["recall@1"]
    report(parts, {**of, "parts": found, "seconds": sum(part["seconds"] for part in found)}, value)


def run_captions(given: argparse.Namespace) -> None:
    """Fit what is missing."""
    from benchmarks.few_study.captions import KINDS, SIZES, Further, heads
    from benchmarks.few_study.real import Curve
    from benchmarks.recipe_study.bundle import Bundle
    from pipeline.work_folder import work_folder

    parts, bundle = Parts(given.parts / "captions.jsonl"), Bundle.of_project()
    further = Further(bundle, work_folder() / "downloads")
    print(f"further captions of an image: {further.counts()}", flush=True)
    curve = Curve(bundle, texts=further.features)
    for size in given.sizes or ((100,) if given.quick else (*SIZES, 0)):
        for name, keys in heads(bundle.meta["default"]).items():
            for added, kinds in KINDS.items():
                if wanted(name, given) and parts.get(row=name, size=size, added=added) is None:
                    found = curve.parts(keys, size, further.rows(kinds) if kinds else None)
                    add_real(parts, {"row": name, "size": size, "added": added}, found, curve)


def show(given: argparse.Namespace) -> None:
    """Tables, JSON and plot of all that is done."""
    from benchmarks.few_study.tables import Report

    os.chdir(given.data.absolute().parent)
    found = Report({name: list(Parts(given.parts / f"{name}.jsonl")) for name in ("real", "synthetic", "captions")})
    print(found.markdown())
    write_json({"machine": describe_machine(), **found.figures()}, given.out)
    found.plot(given.plot)


def main(arguments: Sequence[str] | None = None) -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("real", "synthetic", "captions", "show"))
    parser.add_argument("--data", type=Path, default=Path("data"), help="the folder data of a run")
    parser.add_argument("--only", nargs="+", default=[], help="rows to fit")
    parser.add_argument("--settings", nargs="+", choices=list(SETTINGS), help="worlds to draw")
    parser.add_argument("--sizes", type=int, nargs="+", help="training pairs; 0 is all of the embedded ones")
    parser.add_argument("--worlds", type=int, default=1, help="how often each setting is drawn")
    parser.add_argument("--parts", type=Path, default=Path("data/benchmarks/few_pairs"))
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--plot", type=Path, default=PLOT)
    parser.add_argument("--quick", action="store_true", help="toy sizes, for tests")
    given = parser.parse_args(arguments)
    given.parts, given.out, given.plot = (path.absolute() for path in (given.parts, given.out, given.plot))
    started = time.perf_counter()
    if given.what in ("real", "captions"):
        os.chdir(given.data.absolute().parent)
    {"real": run_real, "synthetic": run_synthetic, "captions": run_captions, "show": show}[given.what](given)
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
