"""What fusing encoders brings: the default's head on one view a side and on several, the validation families answering.

    python benchmarks/fusion.py [--data DIR]      # DIR is the folder `data` of a run; ./data if left out

Needs the stores of the default (`make repro`) and, for rows with further encoders, those of docs/why_cka.md; rows whose
stores are not there are named and left out. Every row is fitted on the train split of each of the five repeats and
answers the validation split of the same repeat, to which nothing is fitted but the temperature, which changes no rank.
The test split is read nowhere.

Score: the mean over emoji and stamps of R@1 from image to text and from text to image. Intervals resample concept
families of all repeats together and count the spread between repeats; differences are paired by query.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipeline.accounting.machine import describe_machine
from pipeline.alignment.closed_form.fit import fit_closed, resolved
from pipeline.alignment.data.load import load_alignment_data
from pipeline.alignment.data.views import read_images, read_texts
from pipeline.alignment.fusion import behind, input_maps, through
from pipeline.config import ClosedFormHead, FitSpec, FusedView
from pipeline.datasets.caption_pairs import CaptionPairs, read_caption_pairs
from pipeline.evaluation.caption_sets import RetrievalSet
from pipeline.evaluation.metrics import chance_at, hits_at
from pipeline.features.views import open_side
from pipeline.files import write_json
from pipeline.statistics import FamilyBootstrap

OUT = Path(__file__).parent / "results" / "fusion.json"
DATASETS, REPEATS, DRAWS = ("emoji", "stamps"), 5, 5000
CPU = torch.device("cpu")
HEAD = {  # of aligner `default`
    "kind": "closed-form",
    "local_tokens": "mean",
    "forms": {"cca": {"kind": "cca", "shrink": 1.0}, "kernel-ridge": {"kind": "kernel-ridge", "ridge": 0.3}},
}
BASELINE = ("vit", "minilm", "")
ROWS = (
    BASELINE,
    ("control", "minilm", ""),
    ("lite0", "minilm", ""),
    ("vit + lite0", "minilm", "share"),
    ("vit", "mpnet", ""),
    ("vit + lite0", "mpnet", "share"),
    ("vit + lite0", "mpnet", "rms"),
    ("vit + lite0", "minilm", "rms"),
    ("vit + lite0", "minilm", "whiten"),
    ("control + lite0", "minilm", "share"),
    ("vit", "minilm + e5", "share"),
    ("vit + lite0 + lite1 + lite2", "mpnet", "share"),
    ("vit + lite0 + lite1 + lite2", "minilm", "share"),
    ("vit + lite0 + lite1 + lite2", "mpnet + minilm", "share"),
)
Row = tuple[str, str, str]  # image views, text views, how they are scaled


@dataclass
class Answers:
    """What a row answered on all queries: hits and chance, query by query in one order for all rows."""

    hits: np.ndarray
    chance: np.ndarray
    families: np.ndarray
    groups: np.ndarray
    repeat: np.ndarray
    seconds: list[float]
    fitted: int


def fit_spec(row: Row) -> FitSpec:
    """The entry of a row, as params.yaml would give it."""
    image, text, scale = row
    sides = {"image": tuple(image.split(" + ")), "text": tuple(text.split(" + "))}
    fusions = {
        side: FusedView.model_validate({"concat": views, "scale": scale})
        for side, views in sides.items()
        if len(views) > 1
    }
    names = {side: f"fused-{side}" if side in fusions else views[0] for side, views in sides.items()}
    entry = {"datasets": DATASETS, "data": "all", "head": HEAD, "fusions": fusions}
    return FitSpec.model_validate(names | entry)


def answers(row: Row) -> Answers:
    """Fit a row in every repeat and let it answer."""
    fit = fit_spec(row)
    assert isinstance(fit.head, ClosedFormHead)
    data = load_alignment_data("benchmark", fit, REPEATS, CPU)
    images, texts = (open_side(getattr(fit, side), fit.members(side), DATASETS) for side in ("image", "text"))
    pairs = read_caption_pairs(DATASETS, REPEATS)
    parts: list[tuple[np.ndarray, ...]] = []
    seconds, fitted = [], 0
    for repeat in range(REPEATS):
        started = time.perf_counter()
        maps = input_maps(data, repeat)
        seen = through(data, maps)
        head = behind(fit_closed(resolved(fit.head, seen)[0], seen, repeat, repeat)[0], maps).eval()
        seconds.append(time.perf_counter() - started)
        fitted = sum(buffer.numel() for buffer in head.buffers())
        for dataset, items in asked(pairs, repeat):
            with torch.no_grad():
                image_NK = head.image_features(read_images(images[dataset], items.images, "mean")).numpy()
                text_MK = head.text_features(read_texts(texts[dataset], items.texts)).numpy()
            for way, ranks in items.ranks(image_NK, text_MK).items():
                families, counts, candidates = items.side(way)
                chance = chance_at(counts, candidates, 1)
                group = np.full(len(ranks), f"{dataset} {way}")
                parts.append((hits_at(ranks, 1), chance, families, group, np.full(len(ranks), repeat)))
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return Answers(*columns, seconds, fitted)


def asked(pairs: CaptionPairs, repeat: int) -> Iterator[tuple[str, RetrievalSet]]:
    """The validation pairs of a repeat, each data set by itself."""
    for dataset in DATASETS:
        of_dataset = pairs.where(pairs.dataset == dataset)
        yield dataset, RetrievalSet.of(of_dataset.of(repeat, "validation"))


def stored(row: Row) -> list[str]:
    """The stores of a row that are not there."""
    views = [view for side in row[:2] for view in side.split(" + ")]
    folders = [Path("data/features/pairs") / view / dataset for view in views for dataset in DATASETS]
    return [str(folder) for folder in folders if not (folder / "zarr.json").is_file()]


def table(found: dict[Row, Answers]) -> list[dict[str, Any]]:
    """The figures of every row."""
    base = found[BASELINE]
    boot = FamilyBootstrap(base.families, DRAWS, 0, base.groups, base.repeat)
    rows = []
    for (image, text, scale), one in found.items():
        assert np.array_equal(one.families, base.families), "all rows answer the same queries"
        by_repeat = [
            statistics.fmean(one.hits[(one.repeat == r) & (one.groups == g)].mean() for g in np.unique(one.groups))
            for r in range(REPEATS)
        ]
        compared = boot.compare(one.hits, base.hits)
        rows.append(
            {
                "image": image, "text": text, "scale": scale or None, "recall@1": boot.value(one.hits),
                "ci": boot.interval(one.hits), "by_repeat": by_repeat, "sd": statistics.stdev(by_repeat),
                "chance": boot.value(one.chance), "times_baseline": compared.ratio,
                "times_baseline_ci": compared.ratio_interval, "difference": compared.difference,
                "difference_ci": compared.interval, "fit_seconds": statistics.median(one.seconds),
                "numbers_of_the_head": one.fitted,
            }
        )  # fmt: skip
    return rows


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table of the documentation."""
    head = ("image views", "text views", "scale", "R@1 (95 %)", "sd of repeats", "times vit with minilm (95 %)")
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for row in rows:
        low, high = row["ci"]
        below, above = row["times_baseline_ci"]
        lines.append(
            f"| {row['image']} | {row['text']} | {row['scale'] or ''} | {row['recall@1']:.3f} ({low:.3f}, {high:.3f}) "
            f"| {row['sd']:.3f} | {row['times_baseline']:.2f} ({below:.2f}, {above:.2f}) |"
        )
    return "\n".join(lines)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="the folder data of a run")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    out = given.out.absolute()
    os.chdir(given.data.absolute().parent)
    found: dict[Row, Answers] = {}
    for row in ROWS:
        if missing := stored(row):
            print(f"left out: {row[0]} with {row[1]}, for want of {missing[0]}", flush=True)
            continue
        found[row] = answers(row)
        rows = table(found)
        print(f"{row[0]:32}{row[1]:18}{row[2]:8}{rows[-1]['recall@1']:.4f}", flush=True)
        write_json({"machine": describe_machine(), "head": HEAD, "split": "validation", "rows": rows}, out)
    if found:
        print(f"{markdown(rows)}\nchance {rows[0]['chance']:.4f}; {out}")


if __name__ == "__main__":
    main()
