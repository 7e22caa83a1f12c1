"""Recipes of alignment at their best: same cached features, same splits, equal budgets of trials, the test read once.

    python benchmarks/recipes.py encode              # captions in templates, which the default does not use
    python benchmarks/recipes.py pack FILE           # all that the rest reads, for another machine
    python benchmarks/recipes.py run [--from FILE] [--device cuda] [--kind trained] [--share I N]
    python benchmarks/recipes.py run --development   # candidates for the default, on families that no repeat tests
    python benchmarks/recipes.py table [--from FILE] [--development]

Needs the features of the default (`make repro`), or the file that `pack` wrote. Every recipe is fitted on the train
split of each of the five repeats. It gets 24 trials: trained ones four learning rates, two temperatures and three
lengths of the schedule (75, 300, and up to 600 steps that end early at the plateau); computed ones 24 values, where
they have any. The trial with the highest validation recall answers the test split of that repeat, once. Trials of one
length are trained side by side on a GPU.

With `--development`, the families for development are left out of train and validation and are what is tested; the test
splits are not read. Choices of the default are checked there.

Score: the mean over emoji and stamps of R@1 from image to text and from text to image. Intervals resample concept
families of all repeats together, and differences are paired by query. Parts are appended to files in data/benchmarks
(`--parts`), and what is in one of them is not fitted again.
"""

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.recipe_study.bundle import Bundle
from benchmarks.recipe_study.fitting import Bench
from benchmarks.recipe_study.rows import (
    ALL,
    BASELINE,
    BATCH,
    DEFAULT,
    LENGTHS,
    PROMPTED,
    RATES,
    TEMPERATURES,
    recipes,
)
from benchmarks.recipe_study.tables import HEAD, Parts, Tables, cells, holm, titles, trial_means
from pipeline.accounting.machine import describe_machine
from pipeline.errors import PermafrostError
from pipeline.files import write_json

OUT = Path(__file__).parent / "results"
TEMPLATES = ("{}", "a picture of a {}.", "a photo of a {}.", "a drawing of a {}.", "an icon of a {}.")
SLOW = ("FuseMix", "SAIL")  # fitted after the others, and before rows with prepared inputs


def encode_prompted() -> None:
    """Captions in templates, through the text encoder of the default, into stores that params.yaml does not name."""
    from pipeline.config import EncodeSettings, StoreEntry, load_config  # with the encoders, which nothing else needs
    from stages.encode import encode

    config = load_config()
    default = config.section("aligners.default")
    view = config.section(f"views.{default.views[1]}").model_copy(update={"templates": TEMPLATES, "languages": ("en",)})
    for dataset in config.params.curations[default.data].pool:
        name, store = f"{dataset}-prompts", StoreEntry(dataset=dataset, view=PROMPTED, encoder=view.encoder)
        settings = config.with_store(name, store, view).settings("encode", name)
        assert isinstance(settings, EncodeSettings)
        encode(settings)


def read_parts(folder: Path, wanted: dict[str, dict[str, Any]], development: bool) -> Parts:
    """The parts of the rows as they are now, by row and then by repeat."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for file in sorted(folder.glob("*.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines():
            part = json.loads(line)
            if wanted.get(part["name"]) == part["keys"] and part["development"] == development:
                found[part["name"], part["repeat"]] = part
    rows: Parts = {}
    for name, repeat in sorted(found):
        rows.setdefault(name, []).append(found[name, repeat])
    return rows


def run(given: argparse.Namespace, bundle: Bundle) -> None:
    """Fit and test what is missing of the given share of repeats, until the time is over."""
    started, wanted = time.perf_counter(), usable(bundle, given.development)
    done = {
        (name, part["repeat"])
        for name, parts in read_parts(given.parts, wanted, given.development).items()
        for part in parts
    }
    bench = Bench(bundle, given.development, given.device, given.step)
    given.parts.mkdir(parents=True, exist_ok=True)
    share, shares = given.share
    out = given.parts / f"{'development' if given.development else 'test'}-{share}-of-{shares}.jsonl"
    for name in sorted(wanted, key=lambda row: (", " in row.removeprefix("SAIL, "), row.startswith(SLOW))):
        kind = "computed" if wanted[name]["head"]["kind"] == "closed-form" else "trained"
        if (given.only and name not in given.only) or given.kind not in (kind, None):
            continue
        for repeat in range(share, bundle.repeats, shares):
            if (name, repeat) in done:
                continue
            if time.perf_counter() - started > given.seconds:
                print("time is over; run again to go on")
                return
            try:
                part = bench.part(name, wanted[name], repeat)
            except (PermafrostError, RuntimeError) as error:
                print(f"{name} repeat {repeat} FAILED: {error}", flush=True)
                continue
            with open(out, "a", encoding="utf-8") as file:
                file.write(json.dumps(part) + "\n")
            print(f"{name} repeat {repeat}: validation {part['validation']:.4f}, {part['seconds']:.1f} s", flush=True)
    print("done: python benchmarks/recipes.py table")


def usable(bundle: Bundle, development: bool) -> dict[str, dict[str, Any]]:
    """The rows whose text view is there."""
    wanted = recipes(bundle.meta["default"], development)
    return {name: keys for name, keys in wanted.items() if bundle.has(keys["views"])}


def table(given: argparse.Namespace, bundle: Bundle) -> None:
    """Print the tables and write the figures. A row that lacks repeats is compared on those that it has."""
    wanted = usable(bundle, given.development)
    parts = read_parts(given.parts, wanted, given.development)
    every = tuple(range(bundle.repeats))
    whole = {name: found for name, found in parts.items() if len(found) == bundle.repeats}
    tables = Tables(bundle, whole, given.development, every)
    print(f"chance {tables.chance:.4f}; {bundle.repeats} repeats; {tables.boot.families} families")
    rows = []
    for title, (baseline, names) in titles(given.development).items():
        shown = [name for name in names or whole if name in whole]
        if baseline in whole:
            rows += show(tables, title, shown, baseline)
        else:
            print(f"\n{title}: {baseline} is not whole")
    for name, found in parts.items():
        some = tuple(part["repeat"] for part in found)
        if name not in whole and len(some) > 1 and BASELINE in whole:
            few = Tables(bundle, {**whole, name: found}, given.development, some)
            title = f"repeats {', '.join(map(str, some))} alone"
            rows += show(
                few, title, [name for name in (name, DEFAULT, BASELINE) if name in {**whole, name: found}], BASELINE
            )
    paired = {}
    for title, (_, names) in titles(given.development).items():
        leader = f"{DEFAULT}, {ALL}" if title == "prepared" else DEFAULT
        paired[title] = versus_others(tables, leader, [name for name in names or whole if name in whole])
    trials = {name: trial_means(found) for name, found in whole.items() if "steps" in found[0]["trials"][0]}
    left_out = [name for name in wanted if name not in parts]
    if left_out:
        print(f"\nleft out: {'; '.join(left_out)}")
    result = {
        "machine": describe_machine(),
        "devices": sorted({part["device"] for found in parts.values() for part in found}),
        "budget": {"rates": RATES, "temperatures": TEMPERATURES, "lengths": LENGTHS, "batch": BATCH},
        "families": tables.boot.families, "repeats": bundle.repeats, "chance": tables.chance,
        "rows": rows, "paired": paired, "trials": trials, "left_out": left_out,
    }  # fmt: skip
    write_json(result, OUT / ("recipes_development.json" if given.development else "recipes.json"))


def versus_others(tables: Tables, leader: str, names: list[str]) -> dict[str, Any]:
    """Print `leader` against every other row of its table, with p-values corrected by Holm for their number.

    Controls and other values of the leader itself are no rivals, and not counted.
    """
    if leader not in names:
        return {}
    found = {name: tables.versus(leader, name) for name in names if name != leader}
    rivals = [name for name in found if not name.startswith(("control", DEFAULT))]
    corrected = holm({name: found[name]["p"] for name in rivals})
    print(f"\n{leader} against others, corrected for {len(rivals)} comparisons")
    for name, one in found.items():
        one["p_holm"] = corrected.get(name)
        low, high = one["ratio_ci"] or (math.nan, math.nan)
        shown = f"corrected {one['p_holm']:.4f}" if name in corrected else "not corrected"
        print(f"- {name}: {one['ratio']:.2f} ({low:.2f}-{high:.2f}), p {one['p']:.4f}, {shown}")
    return found


def show(tables: Tables, title: str, names: list[str], baseline: str) -> list[dict[str, Any]]:
    """Print a table, best first, and return its rows."""
    print(f"\n{title}\n\n| " + " | ".join(HEAD) + " |\n|" + "---|" * len(HEAD))
    rows = sorted((tables.row(name, baseline) for name in names), key=lambda one: -one["value"])
    for row in rows:
        print("| " + " | ".join(cells(row)) + " |")
    return [{"table": title, **row} for row in rows]


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["encode", "pack", "run", "table"])
    parser.add_argument("file", type=Path, nargs="?", help="of pack: the file to write")
    parser.add_argument(
        "--from", type=Path, dest="source", help="a file that pack wrote; default: the project's own data"
    )
    parser.add_argument("--parts", type=Path, default=Path("data/benchmarks/recipes"), help="folder of what is done")
    parser.add_argument("--development", action="store_true", help="candidates, on the families for development")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these rows alone")
    parser.add_argument("--kind", choices=["trained", "computed"], help="rows of this kind alone")
    parser.add_argument("--share", type=int, nargs=2, default=(0, 1), metavar=("I", "N"), help="repeats I, I + N, ...")
    parser.add_argument("--seconds", type=float, default=1.0e9, help="start no further part after this long")
    parser.add_argument("--device", default="cpu", help="of trained heads")
    parser.add_argument("--step", choices=["eager", "compiled", "captured"], default="eager")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.what == "encode":
        encode_prompted()
        return
    bundle = Bundle.read(given.source) if given.source else Bundle.of_project()
    if given.what == "pack":
        bundle.write(given.file)
        print(f"{given.file}: {given.file.stat().st_size / 1e6:.1f} MB, texts {', '.join(bundle.meta['texts'])}")
    elif given.what == "run":
        run(given, bundle)
    else:
        table(given, bundle)


if __name__ == "__main__":
    main()
