"""Recipes of alignment beside each other: same cached features, same family splits, same trials, the test read once.

    python benchmarks/recipes.py encode                  # captions in templates, which the default does not use
    python benchmarks/recipes.py run [--seconds 330]     # goes on where it stopped; parts lie in data/benchmarks
    python benchmarks/recipes.py table                   # prints the table, writes benchmarks/results/recipes.json

Needs the features of the default (`make repro`). Every recipe is fitted on the train split of each of the five repeats,
which differ in split and initialisation, with two settings each; the one with the higher validation recall is kept and
answers the test split of that repeat, once. Trained recipes take the same number of steps on batches of one size.

The default prepares its inputs in no way, so every recipe meets the same features. The fair control gives every recipe
whitened texts and prompt averaging (captions in five templates); the default and Freeze-Align also meet each of the two
alone. Trained recipes, as published, are fitted once more with ten times the steps, nearer to what their papers do. The
ablation takes one ingredient of the default away at a time, or adds one. Score: the mean over emoji and stamps of R@1
from image to text and from text to image. Intervals resample concept families of all repeats together, and differences
are paired by query.
"""

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipeline.accounting.machine import describe_machine
from pipeline.alignment.closed_form.fit import fit_closed
from pipeline.alignment.data.load import AlignmentData, load_alignment_data
from pipeline.alignment.data.views import open_view, read_images, read_texts
from pipeline.alignment.heads import Head
from pipeline.alignment.training.trainer import train_repeat
from pipeline.config import AlignerSpec, StoreSpec, TrainParams, ViewSpec, load_config
from pipeline.datasets.caption_pairs import CaptionPairs, read_caption_pairs
from pipeline.evaluation.caption_sets import RetrievalSet
from pipeline.evaluation.metrics import chance_at, first_hit_ranks, hits_at
from pipeline.files import write_json
from pipeline.statistics import FamilyBootstrap
from stages.encode import encode

PARTS = Path("data/benchmarks/recipes")
OUT = Path(__file__).parent / "results" / "recipes.json"
STEPS = TrainParams(epochs=9, batch_size=512, warmup_steps=4, device="cpu", features="device")
RATES = ({"lr": 1.0e-3}, {"lr": 3.0e-3})
DRAWS, SEED = 2000, 0
BASELINE, DEFAULT = "Freeze-Align", "default"
CONTROL = "control: default on random image weights"
SLOW = ("FuseMix", "SAIL")  # fitted last
NOT_OF_THE_HEAD = ("dense", "dense_head", "long_text", "curation", "prompts")
WHITENED = {"whiten": "text", "whiten_shrink": 1.0}
PROMPTED = "minilm-prompts"
ALL = "whitened texts and prompts"
PREPARED: dict[str, dict[str, Any]] = {
    "whitened texts": WHITENED,
    "prompts": {"text": PROMPTED},
    ALL: {**WHITENED, "text": PROMPTED},
}
LONG = "ten times the steps"
LONGER = {"epochs": 10 * STEPS.epochs, "warmup_steps": 10 * STEPS.warmup_steps}
TEMPLATES = ("{}", "a picture of a {}.", "a photo of a {}.", "a drawing of a {}.", "an icon of a {}.")

# CLS + mean and not both in a row, or the eightfold hidden width would take most of the time of this benchmark
GATED = {"head": "gated-unit", "local_tokens": "mean", "image_input": "sum", "train": {"temperature": 0.05}}
# what each recipe is, and its two trials: keys of the aligner, or of `train`
TRAINED: dict[str, dict[str, Any]] = {
    "linear + InfoNCE": {"head": "linear", "local_tokens": "mean"},
    BASELINE: {"head": "freeze-align"},
    "linear from CCA + InfoNCE": {"head": "linear", "local_tokens": "mean", "init": "cca"},
    "SAIL": {**GATED, "loss": {"kind": "sigmoid", "positives": "own"}},
    "SAIL, multi-positive": {**GATED, "loss": {"kind": "sigmoid"}},
    "FuseMix": {
        "head": "inverted-bottleneck", "local_tokens": "none", "image_input": "cls", "embed_dim": 512,
        "loss": {"mixup": 1.0}, "train": {"dropout": 0.6, "weight_decay": 0.1},
    },
    "STRUCTURE": {
        "head": "gated-low-rank", "local_tokens": "mean", "embed_dim": 256,
        "loss": {"structure": 10.0, "structure_temperature": 0.05}, "train": {"temperature": 0.05},
    },
}  # fmt: skip
PUBLISHED = tuple(name for name in TRAINED if name != "SAIL, multi-positive")  # fitted with more steps, too
CLOSED: dict[str, dict[str, Any]] = {
    "ASIF": {"form": "asif", "neighbours": [100, 400]},
    "Procrustes": {"form": "procrustes"},
    "ridge": {"form": "ridge", "ridge": [0.3, 1.0]},
    "CCA": {"form": "cca", "shrink": [0.3, 1.0]},
    "kernel ridge": {"form": "kernel-ridge", "ridge": [0.1, 0.3]},
}


def recipes() -> dict[str, dict[str, Any]]:
    """Every row of the tables: keys of its aligner, by name."""
    default = load_config().section("aligners.default").model_dump(mode="json", exclude_defaults=True)
    kept = {key: value for key, value in default.items() if key not in NOT_OF_THE_HEAD}
    plain = {"image": "vit", "text": kept["text"], "data": kept["data"]}
    rows = {DEFAULT: kept, CONTROL: {**kept, "image": "control"}}
    rows |= {name: {**plain, **own} for name, own in TRAINED.items()}
    for name, form in CLOSED.items():
        rows[name] = {**plain, "head": "closed", "local_tokens": "mean", "closed": [form]}
    for what, keys in PREPARED.items():
        for name in (DEFAULT, BASELINE) if what != ALL else (DEFAULT, *TRAINED, *CLOSED):
            rows[f"{name}, {what}"] = {**rows[name], **keys}
    for name in (*PUBLISHED, f"{BASELINE}, {ALL}"):
        rows[f"{name}, {LONG}"] = {**rows[name], "train": {**rows[name].get("train", {}), **LONGER}}
    for form in kept["closed"]:
        rest = [other for other in kept["closed"] if other is not form]
        rows[f"{DEFAULT} without {form['form']}"] = {**kept, "closed": rest}
    turned = {"form": "kernel-ridge", "direction": "text-to-image"}
    rows[f"{DEFAULT} and kernel ridge from texts to images"] = {**kept, "closed": [*kept["closed"], turned]}
    streamed = [{**form, "features": "fourier"} if form["form"] == "kernel-ridge" else form for form in kept["closed"]]
    rows[f"{DEFAULT} with random Fourier features"] = {**kept, "closed": streamed}
    rows[f"{DEFAULT} on two layers"] = {**kept, "layers": 2}
    rows[f"{DEFAULT} on CLS alone"] = {**kept, "image_input": "cls"}
    return rows


class Bench:
    """Features by what a recipe reads, loaded once, and the test queries."""

    def __init__(self) -> None:
        config = load_config()
        self.repeats = int(config.section("splits").repeats)
        self.seed = int(config.section("seed"))
        self._data: dict[tuple[Any, ...], AlignmentData] = {}

    def fit(self, spec: AlignerSpec, repeat: int) -> tuple[Head, float, float, list[float]]:
        """The head with the highest validation recall, that recall, seconds of its fit, and recalls of all trials."""
        data, seed = self._features(spec), self.seed * self.repeats + repeat
        if spec.head == "closed":
            started = time.perf_counter()
            head, recall, _ = fit_closed(spec, data, repeat, seed)
            return head, recall, time.perf_counter() - started, [recall]
        tried = []
        for rate in RATES:
            params = STEPS.changed({**spec.train, **rate})
            result = train_repeat(data, params, spec=spec, repeat=repeat, seed=seed, on_epoch=lambda _: None)
            tried.append((result.val_recall, result.seconds, result.head))
        recall, seconds, head = max(tried, key=lambda one: one[0])
        return head, recall, seconds, [one[0] for one in tried]

    def test(self, spec: AlignerSpec, head: Head, repeat: int) -> list[dict[str, Any]]:
        """Hits of every query of the test split, per data set and direction, with families and chance."""
        pairs, groups = read_caption_pairs(spec.data, self.repeats), []
        images, texts = open_view(spec.image, spec.data), open_view(spec.text, spec.data)
        for dataset in spec.data:
            items = RetrievalSet.of(_served(pairs.of(repeat, "test", dataset), images[dataset], texts[dataset]))
            with torch.no_grad():
                kind, layers = spec.local_tokens, spec.layers
                image = head.image_features(read_images(images[dataset], items.images, kind, layers)).numpy()
                text = head.text_features(read_texts(texts[dataset], items.texts, spec.text_tokens)).numpy()
            for direction, (queries, candidates, right) in {
                "i2t": (image, text, items.positives),
                "t2i": (text, image, items.positives[:, ::-1]),
            }.items():
                families, positives, count = items.side(direction)
                groups.append(
                    {
                        "group": f"{dataset} {direction}",
                        "families": families.tolist(),
                        "hits": hits_at(first_hit_ranks(queries, candidates, right), 1).tolist(),
                        "chance": chance_at(positives, count, 1).tolist(),
                    }
                )
        return groups

    def _features(self, spec: AlignerSpec) -> AlignmentData:
        key = (spec.image, spec.text, spec.local_tokens, spec.layers, spec.text_tokens)
        if key not in self._data:
            self._data[key] = load_alignment_data("benchmark", spec, self.repeats, torch.device("cpu"), STEPS)
        return self._data[key]


def encode_prompted() -> None:
    """Captions in templates, through the text encoder of the default, into stores that params.yaml does not name."""
    params = load_config()
    base: ViewSpec = params.section(f"views.{params.section('aligners.default').text}")
    view = base.model_copy(update={"templates": TEMPLATES, "languages": ("en",)})
    for dataset in params.section("aligners.default").data:
        store = StoreSpec(group="pairs", dataset=dataset, view=PROMPTED, encoder=view.encoder)
        encode(params.with_store(f"{dataset}-prompts", store, view), f"{dataset}-prompts")


def _served(pairs: CaptionPairs, images: Any, texts: Any) -> CaptionPairs:
    return pairs.where(images.servable(pairs.image_id) & texts.servable(pairs.text_id))


def run(seconds: float, share: int, shares: int) -> None:
    """Fit and test what is missing of the given share of repeats, until the time is over."""
    started, bench = time.perf_counter(), Bench()
    PARTS.mkdir(parents=True, exist_ok=True)
    order = sorted(recipes().items(), key=lambda row: (row[0].endswith(LONG), row[0].startswith(SLOW)))
    for name, keys in order:
        for repeat in range(share, bench.repeats, shares):
            path = PARTS / f"{name.replace(' ', '_')}-{repeat}.json"
            if path.is_file() and json.loads(path.read_text())["keys"] == keys:
                continue
            if time.perf_counter() - started > seconds:
                print("time is over; run again to go on")
                return
            spec = AlignerSpec.model_validate_json(json.dumps(keys))
            head, recall, took, tried = bench.fit(spec, repeat)
            part = {"name": name, "keys": keys, "repeat": repeat, "validation": recall, "seconds": took, "tried": tried}
            write_json({**part, "groups": bench.test(spec, head.eval(), repeat)}, path)
            print(f"{name} repeat {repeat}: validation {recall:.4f}, {took:.1f} s", flush=True)
    print("all parts are there: python benchmarks/recipes.py table")


def table() -> None:
    """Print the tables and write the figures."""
    parts: dict[str, list[dict[str, Any]]] = {}
    wanted = recipes()
    for path in sorted(PARTS.glob("*.json")):
        part = json.loads(path.read_text())
        if wanted.get(part["name"]) == part["keys"]:
            parts.setdefault(part["name"], []).append(part)
    repeats = max(len(found) for found in parts.values())
    lacking = [name for name in wanted if len(parts.get(name, [])) < repeats]
    if BASELINE in lacking:
        raise SystemExit(f"{BASELINE} is not whole; run: python benchmarks/recipes.py run")
    items = {name: _joined(found) for name, found in parts.items() if name not in lacking}
    families, groups = items[BASELINE][:2]
    boot = FamilyBootstrap(families, DRAWS, SEED, groups)
    chance = boot.value(items[BASELINE][3])
    print(f"chance {chance:.4f}; {repeats} repeats; {boot.families} families")
    head = ("recipe", "emoji", "stamps", "mean (95 %)", "sd", "times Freeze-Align (95 %)", "val", "s")
    rows = []
    for title, names in _tables(items).items():
        baseline = f"{BASELINE}, {title}" if title in (ALL, LONG) else BASELINE
        if baseline not in items:
            continue
        print(f"\n{title}\n\n| " + " | ".join(head) + " |\n|" + "---|" * len(head))
        for name in sorted(names, key=lambda one: -boot.value(items[one][2])):
            row = {"recipe": name, "table": title, **_row(name, items, boot, parts[name], items[baseline][2])}
            rows.append(row)
            print("| " + " | ".join(_cells(row)) + " |")
    print()
    paired = {}
    against = [(DEFAULT, BASELINE), *((f"{DEFAULT}, {what}", f"{BASELINE}, {what}") for what in PREPARED)]
    against += [(DEFAULT, f"{name}, {LONG}") for name in PUBLISHED]
    against.append((f"{DEFAULT}, {ALL}", f"{BASELINE}, {ALL}, {LONG}"))
    for first, second in against:
        if first in items and second in items:
            paired[f"{first} / {second}"] = found = _versus(boot, items[first][2], items[second][2])
            low, high = found["ci"] or (math.nan, math.nan)
            print(
                f"{first} - {second}: {found['difference']:+.4f} [{low:+.4f}, {high:+.4f}], {found['ratio']:.2f} times"
            )
    if lacking:
        print(f"\nnot whole, and left out: {'; '.join(lacking)}")
    result = {
        "machine": describe_machine(), "steps": STEPS.model_dump(), "rates": RATES, "draws": DRAWS,
        "families": boot.families, "repeats": repeats, "chance": chance, "rows": rows, "paired": paired,
        "left_out": lacking,
    }  # fmt: skip
    write_json(result, OUT)


def _tables(names: Collection[str]) -> dict[str, list[str]]:
    """The rows of each table: recipes as they are, prepared alike, with more steps, and the default's ablation."""
    first = [name for name in names if name in (DEFAULT, CONTROL, *TRAINED, *CLOSED)]
    control = [name for name in names if name.endswith(f", {ALL}")]
    more = [name for name in names if name in (DEFAULT, f"{DEFAULT}, {ALL}") or name.endswith(LONG)]
    ablation = [name for name in names if name.startswith(DEFAULT)]
    return {"recipes": first, ALL: control, LONG: more, "ablation": ablation}


def _joined(parts: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Families, groups, hits and chance of the queries of all repeats."""
    every = [group for part in sorted(parts, key=lambda one: one["repeat"]) for group in part["groups"]]
    names = np.repeat([group["group"] for group in every], [len(group["hits"]) for group in every])
    return (
        np.concatenate([group["families"] for group in every]),
        names,
        np.concatenate([group["hits"] for group in every]),
        np.concatenate([group["chance"] for group in every]),
    )


def _row(
    name: str, items: dict[str, Any], boot: FamilyBootstrap, parts: list[dict[str, Any]], baseline: np.ndarray
) -> dict[str, Any]:
    hits, groups = items[name][2], items[name][1]
    by_repeat = [statistics.fmean(statistics.fmean(group["hits"]) for group in part["groups"]) for part in parts]
    row: dict[str, Any] = {
        dataset: float(np.mean([hits[groups == f"{dataset} {way}"].mean() for way in ("i2t", "t2i")]))
        for dataset in dict.fromkeys(group.split()[0] for group in groups.tolist())
    }
    row |= {"value": boot.value(hits), "ci": boot.interval(hits), "sd": statistics.stdev(by_repeat)}
    row["versus"] = _versus(boot, hits, baseline)
    row["validation"] = statistics.fmean(part["validation"] for part in parts)
    row["seconds"] = statistics.median(part["seconds"] for part in parts)
    return row


def _versus(boot: FamilyBootstrap, first: np.ndarray, second: np.ndarray) -> dict[str, Any]:
    compared = boot.compare(first, second)
    return {
        "difference": compared.difference, "ci": compared.interval, "ratio": compared.ratio,
        "ratio_ci": compared.ratio_interval, "excludes_zero": compared.excludes_zero,
    }  # fmt: skip


def _cells(row: dict[str, Any]) -> Iterator[str]:
    yield row["recipe"]
    yield from (f"{row[key]:.3f}" for key in ("emoji", "stamps"))
    yield f"{row['value']:.3f} ({row['ci'][0]:.3f}-{row['ci'][1]:.3f})"
    yield f"{row['sd']:.3f}"
    versus, (low, high) = row["versus"], row["versus"]["ratio_ci"] or (math.nan, math.nan)
    own = versus["difference"] == 0.0 and low == high
    yield "1" if own else f"{versus['ratio']:.2f}{'*' if versus['excludes_zero'] else ''} ({low:.2f}-{high:.2f})"
    yield f"{row['validation']:.3f}"
    yield f"{row['seconds']:.1f}"


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["encode", "run", "table"])
    parser.add_argument("--seconds", type=float, default=330.0, help="start no further part after this long")
    parser.add_argument("--share", type=int, nargs=2, default=(0, 1), metavar=("I", "N"), help="repeats I, I + N, ...")
    given = parser.parse_args()
    torch.set_num_threads(2 if given.share[1] == 1 else 1)
    if given.what == "encode":
        encode_prompted()
    elif given.what == "run":
        run(given.seconds, *given.share)
    else:
        table()


if __name__ == "__main__":
    main()
