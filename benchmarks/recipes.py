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
from pipeline.alignment.closed_form.fit import fit_closed, resolved
from pipeline.alignment.data.load import AlignmentData, load_alignment_data
from pipeline.alignment.data.views import read_images, read_texts
from pipeline.alignment.heads import Head
from pipeline.alignment.training.trainer import train_repeat
from pipeline.config import (
    AlignerSpec,
    ClosedFormHead,
    EncodeSettings,
    FitSpec,
    IdentityHead,
    StoreEntry,
    TrainChanges,
    TrainParams,
    fit_of,
    load_config,
)
from pipeline.datasets.caption_pairs import CaptionPairs, read_caption_pairs
from pipeline.evaluation.caption_sets import RetrievalSet
from pipeline.evaluation.metrics import chance_at, first_hit_ranks, hits_at
from pipeline.features.views import open_view
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
WHITENED = {"whitening": {"sides": "text", "shrink": 1.0}}
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
GATED = {"kind": "gated-unit", "local_tokens": "mean", "image_input": "sum", "train": {"temperature": 0.05}}
# the head of each recipe; its two trials are rates of `train`
TRAINED: dict[str, dict[str, Any]] = {
    "linear + InfoNCE": {"kind": "linear", "local_tokens": "mean"},
    BASELINE: {"kind": "freeze-align"},
    "linear from CCA + InfoNCE": {"kind": "linear", "local_tokens": "mean", "init": "cca"},
    "SAIL": {**GATED, "loss": {"kind": "sigmoid", "positives": "own"}},
    "SAIL, multi-positive": {**GATED, "loss": {"kind": "sigmoid"}},
    "FuseMix": {
        "kind": "inverted-bottleneck", "local_tokens": "none", "image_input": "cls", "embed_dim": 512,
        "loss": {"kind": "info-nce", "mixup": 1.0}, "train": {"dropout": 0.6, "weight_decay": 0.1},
    },
    "STRUCTURE": {
        "kind": "gated-low-rank", "local_tokens": "mean", "embed_dim": 256,
        "loss": {"kind": "info-nce", "structure": {"weight": 10.0, "temperature": 0.05}},
        "train": {"temperature": 0.05},
    },
}  # fmt: skip
PUBLISHED = tuple(name for name in TRAINED if name != "SAIL, multi-positive")  # fitted with more steps, too
CLOSED: dict[str, dict[str, Any]] = {
    "ASIF": {"kind": "asif", "neighbours": [100, 400]},
    "Procrustes": {"kind": "procrustes"},
    "ridge": {"kind": "ridge", "ridge": [0.3, 1.0]},
    "CCA": {"kind": "cca", "shrink": [0.3, 1.0]},
    "kernel ridge": {"kind": "kernel-ridge", "ridge": [0.1, 0.3]},
}


def recipes() -> dict[str, dict[str, Any]]:
    """Every row of the tables: its aligner as in params.yaml, with every kind written out, by name."""
    default = load_config().section("aligners.default").model_dump(mode="json", exclude_unset=True)
    kept = {key: default[key] for key in ("views", "data", "head")}
    forms = kept["head"]["forms"]
    rows = {DEFAULT: kept, CONTROL: changed(kept, image="control")}
    plain = changed(kept, image="vit")
    rows |= {name: {**plain, "head": head} for name, head in TRAINED.items()}
    for name, form in CLOSED.items():
        head = {"kind": "closed-form", "local_tokens": "mean", "forms": {form["kind"]: form}}
        rows[name] = {**plain, "head": head}
    for what, keys in PREPARED.items():
        for name in (DEFAULT, BASELINE) if what != ALL else (DEFAULT, *TRAINED, *CLOSED):
            own = {key: value for key, value in keys.items() if key != "whitening" or not whitens(rows[name])}
            rows[f"{name}, {what}"] = changed(rows[name], **own)
    for name in (*PUBLISHED, f"{BASELINE}, {ALL}"):
        longer = {**rows[name]["head"].get("train", {}), **LONGER}
        rows[f"{name}, {LONG}"] = changed(rows[name], train=longer)
    for form in forms:
        rest = {name: dict(other) for name, other in forms.items() if name != form}
        if len(rest) == 1:
            next(iter(rest.values())).pop("weight", None)
        rows[f"{DEFAULT} without {form}"] = changed(kept, forms=rest)
    turned = {"kind": "kernel-ridge", "direction": "text-to-image"}
    rows[f"{DEFAULT} and kernel ridge from texts to images"] = changed(kept, forms={**forms, "turned": turned})
    streamed = {
        name: {**form, "features": "fourier"} if form["kind"] == "kernel-ridge" else form
        for name, form in forms.items()
    }
    rows[f"{DEFAULT} with random Fourier features"] = changed(kept, forms=streamed)
    rows[f"{DEFAULT} on two layers"] = changed(kept, layers=2)
    rows[f"{DEFAULT} on CLS alone"] = changed(kept, image_input="cls")
    return rows


def changed(row: dict[str, Any], image: str | None = None, text: str | None = None, **head: Any) -> dict[str, Any]:
    """The same aligner with other views, or other keys of its head."""
    views = [image or row["views"][0], text or row["views"][1]]
    return {**row, "views": views, "head": {**row["head"], **head}}


def whitens(row: dict[str, Any]) -> bool:
    """Whether every form of a head whitens by itself, so that `whitening` would have no effect."""
    forms = row["head"].get("forms", {})
    return bool(forms) and all(form["kind"] == "cca" for form in forms.values())


class Bench:
    """Features by what a recipe reads, loaded once, and the test queries."""

    def __init__(self) -> None:
        self._params = load_config().params
        self.repeats, self.seed = self._params.splits.repeats, self._params.seed
        self._data: dict[tuple[Any, ...], AlignmentData] = {}

    def read(self, keys: dict[str, Any]) -> FitSpec:
        """What fitting a row of the tables reads."""
        return fit_of(self._params, AlignerSpec.model_validate_json(json.dumps(keys)))

    def fit(self, fit: FitSpec, repeat: int) -> tuple[Head, float, float, list[float]]:
        """The head with the highest validation recall, that recall, seconds of its fit, and recalls of all trials."""
        data, seed, spec = self._features(fit), self.seed * self.repeats + repeat, fit.head
        assert not isinstance(spec, IdentityHead)
        if isinstance(spec, ClosedFormHead):
            started = time.perf_counter()
            head, recall, _ = fit_closed(resolved(spec, data)[0], data, repeat, seed)
            return head, recall, time.perf_counter() - started, [recall]
        tried = []
        for rate in RATES:
            params = STEPS.changed(spec.train).changed(TrainChanges(**rate))
            result = train_repeat(data, params, spec=spec, repeat=repeat, seed=seed, on_epoch=lambda _: None)
            tried.append((result.val_recall, result.seconds, result.head))
        recall, seconds, head = max(tried, key=lambda one: one[0])
        return head, recall, seconds, [one[0] for one in tried]

    def test(self, fit: FitSpec, head: Head, repeat: int) -> list[dict[str, Any]]:
        """Hits of every query of the test split, per data set and direction, with families and chance."""
        pairs, groups = read_caption_pairs(fit.datasets, self.repeats), []
        images, texts = open_view(fit.image, fit.datasets), open_view(fit.text, fit.datasets)
        for dataset in fit.datasets:
            items = RetrievalSet.of(_served(pairs.of(repeat, "test", dataset), images[dataset], texts[dataset]))
            with torch.no_grad():
                kind, layers = fit.local_tokens, _layers(fit)
                image = head.image_features(read_images(images[dataset], items.images, kind, layers)).numpy()
                text = head.text_features(read_texts(texts[dataset], items.texts, fit.text_tokens)).numpy()
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

    def _features(self, fit: FitSpec) -> AlignmentData:
        key = (fit.image, fit.text, fit.local_tokens, _layers(fit), fit.text_tokens)
        if key not in self._data:
            self._data[key] = load_alignment_data("benchmark", fit, self.repeats, torch.device("cpu"), STEPS)
        return self._data[key]


def _layers(fit: FitSpec) -> int:
    return int(getattr(fit.head, "layers", 1))


def encode_prompted() -> None:
    """Captions in templates, through the text encoder of the default, into stores that params.yaml does not name."""
    config = load_config()
    default = fit_of(config.params, config.section("aligners.default"))
    view = config.section(f"views.{default.text}").model_copy(update={"templates": TEMPLATES, "languages": ("en",)})
    for dataset in default.datasets:
        name, store = f"{dataset}-prompts", StoreEntry(dataset=dataset, view=PROMPTED, encoder=view.encoder)
        settings = config.with_store(name, store, view).settings("encode", name)
        assert isinstance(settings, EncodeSettings)
        encode(settings)


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
            fit = bench.read(keys)
            head, recall, took, tried = bench.fit(fit, repeat)
            part = {"name": name, "keys": keys, "repeat": repeat, "validation": recall, "seconds": took, "tried": tried}
            write_json({**part, "groups": bench.test(fit, head.eval(), repeat)}, path)
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
