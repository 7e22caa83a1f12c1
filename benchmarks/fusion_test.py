"""Fused aligners on the test splits, read once: `joint`, the preset `best`, and Freeze-Align on the same features.

    python benchmarks/fusion_test.py test [--data DIR]       # fit; what validation chose answers the test splits, once
    python benchmarks/fusion_test.py table [--data DIR]      # the tables again, from what is written

Needs the stores of the default (`make repro`), and for `best` those of `permafrost init --preset best`; DIR is the
folder `data` of a run. Features, splits, recipes and queries are those of recipes.py. Of Freeze-Align on the single
pair the trial that validation chose in each repeat among 24 (benchmarks/results/recipes.json) is fitted again; on fused
features it has the trials of `TRIALS`, on the CPU; the one with the highest validation recall of a repeat answers its
test split. Other trained recipes have 8 trials on the features of `joint`, and SAIL, whose head is 8 times as wide
inside, the rate and temperature that validation chose for it on the single pair. Closed forms
have their 24 values as there; `joint` and `best` stand as in params.yaml and the preset, without a trial.

Score: the mean over emoji and stamps of R@1 from image to text and from text to image. Intervals resample concept
families of all repeats together and count the spread between repeats; ratios are paired by query. `joint` and `best`
are compared with every other recipe on their own features; their p-values, with Holm's correction, are of families
alone and do not count the spread between repeats.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.recipe_study.bundle import Bundle
from benchmarks.recipe_study.fitting import Bench
from benchmarks.recipe_study.rows import BASELINE, CLOSED, CONTROLS, DEFAULT, RATES, TEMPERATURES, TRAINED
from benchmarks.recipe_study.tables import Tables, cells, holm
from pipeline.accounting.machine import describe_machine
from pipeline.commands.best import ENTRIES
from pipeline.config import load_config
from pipeline.files import write_json

RESULTS = Path(__file__).resolve().parent / "results"
OUT = RESULTS / "fusion_test.json"
FUSED = {"fused": ("vit + lite0", "minilm"), "best": ("vit + lite0 + lite1 + lite2", "mpnet")}
BLIND = {"fused": "control + control-lite0", "best": "control + control-lite0 + control-lite1 + control-lite2"}
RIVALS = (*TRAINED, *CLOSED)
LEADER = {"fused": "joint", "best": "best"}
LONG = {"600": {"min_steps": 100, "patience": 20}}  # a schedule of 600 steps that ends at the plateau
TRIALS = {  # of Freeze-Align on fused features: rate and temperature, sized for two cores that others use as well
    "fused": {"values": [[1.0e-3, 0.1], [3.0e-3, 0.1]], "lengths": LONG, "batch": 256},
    "best": {"values": [[1.0e-3, 0.1], [3.0e-3, 0.1]], "lengths": LONG, "batch": 256},
}
MORE = {"values": [[lr, t] for lr in RATES for t in TEMPERATURES], "lengths": LONG, "batch": 256}  # every rate
BARS = (  # first, second, the ratio that was asked for
    ("joint", BASELINE, 2.0),
    ("best", BASELINE, 2.5),
    ("joint", f"{BASELINE}, fused", 1.25),
    ("best", f"{BASELINE}, best", 1.25),
)


def rows(bundle: Bundle) -> dict[str, dict[str, Any]]:
    """Every row by name: views, head, and the trials of a trained one."""
    default = bundle.meta["default"]
    chosen = {row["recipe"]: row["kept"] for row in json.loads((RESULTS / "recipes.json").read_text())["rows"]}
    single = {name: [[[one["lr"], one["temperature"]]] for one in chosen[name]] for name in TRAINED}
    found: dict[str, dict[str, Any]] = {
        BASELINE: {
            **default,
            "head": {"kind": "freeze-align"},
            "budget": {"by_repeat": single[BASELINE], "lengths": LONG, "batch": 512},
        },
        DEFAULT: default,
        CONTROLS[DEFAULT]: {**default, "views": ["control", default["views"][1]]},
    }
    heads = {"fused": _joint(), "best": _written(ENTRIES["fused"]["best"]["head"])}
    for which, views in FUSED.items():
        leader = {"views": list(views), "head": heads[which]}
        found[LEADER[which]] = leader
        found[f"control: {LEADER[which]} on random image weights"] = {**leader, "views": [BLIND[which], views[1]]}
        found[f"{BASELINE}, {which}"] = {
            **leader,
            "head": {"kind": "freeze-align", "local_tokens": "mean"},
            "budget": TRIALS[which],
        }
        for name, form in CLOSED.items():
            head = {"kind": "closed-form", "local_tokens": "mean", "forms": {form["kind"]: form}}
            found[f"{name}, {which}"] = {**leader, "head": head}
    blind = {**found[f"{BASELINE}, fused"], "views": [BLIND["fused"], FUSED["fused"][1]]}
    found[f"control: {BASELINE}, fused, on random image weights"] = blind
    for name, head in TRAINED.items():
        if name != BASELINE:
            budget = {**MORE, "by_repeat": single[name]} if head["kind"] == "gated-unit" else MORE
            found[f"{name}, fused"] = {"views": list(FUSED["fused"]), "head": head, "budget": budget}
    found[f"{BASELINE}, fused, 8 trials"] = {**found[f"{BASELINE}, fused"], "budget": MORE}
    return {name: keys for name, keys in found.items() if bundle.has(keys["views"])}


def _joint() -> dict[str, Any]:
    """The head of `joint` in params.yaml."""
    head: dict[str, Any] = load_config().params.fused["joint"].head.model_dump(mode="json", exclude_unset=True)
    return head


def _written(head: dict[str, Any]) -> dict[str, Any]:
    """A head with the kinds of its forms written out."""
    return {**head, "forms": {name: {"kind": name, **form} for name, form in head["forms"].items()}}


def read(path: Path, wanted: dict[str, dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Parts of rows as they are now, by row, in the order of repeats."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    parts = {(part["name"], part["repeat"]): part for part in map(json.loads, lines)}
    found: dict[str, list[dict[str, Any]]] = {}
    for (name, _), part in sorted(parts.items()):
        if wanted.get(name) == part["keys"]:
            found.setdefault(name, []).append(part)
    return found


def run(bundle: Bundle, path: Path, only: list[str] | None, seconds: float) -> None:
    """Fit and test what is missing."""
    wanted, started = rows(bundle), time.perf_counter()
    bench, done = Bench(bundle, False, "cpu", "eager"), read(path, wanted)
    path.parent.mkdir(parents=True, exist_ok=True)
    for name in only or wanted:
        for repeat in range(bundle.repeats):
            if name not in wanted or any(part["repeat"] == repeat for part in done.get(name, [])):
                continue
            if time.perf_counter() - started > seconds:
                print("time is over; run again to go on")
                return
            part = bench.part(name, wanted[name], repeat)
            with open(path, "a", encoding="utf-8") as file:
                file.write(json.dumps(part) + "\n")
            print(f"{name} repeat {repeat}: validation {part['validation']:.4f}, {part['seconds']:.1f} s", flush=True)


def table(bundle: Bundle, path: Path) -> None:
    """Print the tables and write the figures of the rows that are whole."""
    wanted = rows(bundle)
    parts = {name: found for name, found in read(path, wanted).items() if len(found) == bundle.repeats}
    tables = Tables(bundle, parts, False, tuple(range(bundle.repeats)), between=True)
    shown = [tables.row(name, BASELINE) for name in wanted if name in parts]
    print("| recipe | emoji | stamps | mean (95 %) | sd | times Freeze-Align (95 %) | val | trials | s |")
    print("|---|---|---|---|---|---|---|---|---|")
    for row in sorted(shown, key=lambda one: -one["value"]):
        print(f"| {' | '.join(cells(row))} |")
    bars = []
    for first, second, asked in BARS:
        if first in parts and second in parts:
            found = tables.versus(first, second)
            bars.append({"first": first, "second": second, "asked": asked, **found})
            low, high = found["ratio_ci"]
            print(f"{first} / {second}: {found['ratio']:.2f} ({low:.2f}-{high:.2f}), asked for {asked}")
    rivals = {
        leader: against(tables, leader, [name for one in RIVALS if (name := f"{one}, {which}") in parts])
        for which, leader in LEADER.items()
        if leader in parts
    }
    left_out = [name for name in wanted if name not in parts]
    print(f"chance {tables.chance:.4f}; not fitted: {'; '.join(left_out) or 'none'}")
    write_json(
        {
            "machine": describe_machine(), "trials": TRIALS, "chance": tables.chance, "rows": shown, "bars": bars,
            "rivals": rivals, "not_fitted": left_out, "families": tables.boot.families,
        },
        OUT,
    )  # fmt: skip


def against(tables: Tables, leader: str, rivals: Sequence[str]) -> list[dict[str, Any]]:
    """A row beside every other recipe on the same features, each corrected for their number."""
    found = {name: tables.versus(leader, name) for name in rivals}
    corrected = holm({name: one["p"] for name, one in found.items()})
    for name, one in found.items():
        low, high = one["ratio_ci"]
        print(f"{leader} / {name}: {one['ratio']:.2f} ({low:.2f}-{high:.2f}), corrected p {corrected[name]:.4f}")
    return [{"second": name, **one, "p_holm": corrected[name]} for name, one in found.items()]


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["test", "table"])
    parser.add_argument("--data", type=Path, default=Path("data"), help="the folder data of a run")
    parser.add_argument("--parts", type=Path, default=Path("data/benchmarks/fusion_test.jsonl"))
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these rows alone")
    parser.add_argument("--seconds", type=float, default=1.0e9, help="start no further part after this long")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    parts = given.parts.absolute()
    os.chdir(given.data.absolute().parent)
    bundle = Bundle.of_project()
    if given.what == "test":
        run(bundle, parts, given.only, given.seconds)
    table(bundle, parts)


if __name__ == "__main__":
    np.seterr(all="raise", under="ignore")
    main()
