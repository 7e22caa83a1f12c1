"""(f) What local tokens bring: CLS alone, with the mean token, region means, every patch token; score and cost.

Every token of the default's images is encoded once into a store outside of the project (kept in `--work`); splits,
captions and text features are the project's. Head, loss and steps are the same for all but the local tokens.
"""

import json
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.alignment import fit_aligner
from pipeline.config import (
    EvaluatedAligner,
    EvaluateSettings,
    FitSpec,
    FreezeAlignHead,
    LocalTokens,
    RetrievalParams,
    TrainSettings,
    load_config,
)
from pipeline.encoders.manifest import read_manifest
from pipeline.encoding.identity import fingerprint_of
from pipeline.encoding.load import image_rows
from pipeline.encoding.plan import image_plan
from pipeline.encoding.run import StoreEncoder
from pipeline.evaluation import evaluate_task
from pipeline.features import FeatureStore
from pipeline.paths import MODELS, WORK_VARIABLE, checkpoint_folder, index_folder, store_folder

LINKED = ("splits", "index", "curation", "checkpoints")
FULL = "vit-full"
DATASETS = ("emoji", "stamps")
VARIANTS: dict[str, tuple[str, LocalTokens]] = {
    "cls": ("vit", "none"),
    "cls + mean": ("vit", "mean"),
    "grid": ("vit", "grid"),
    "all": (FULL, "patch"),
}
METRICS = ("i2t_recall@1_en", "t2i_recall@1_en", "i2t_recall@10_en", "t2i_recall@10_en")


def encode(project: Path) -> None:
    """Stores of every patch token, at the resolution of the default's view; those that are there are kept."""
    config = load_config(project / "params.yaml")
    view = config.section("views.vit").model_copy(update={"tier": "full"})
    encoder, params = config.section(f"encoders.{view.encoder}"), config.section("encode")
    checkpoint = checkpoint_folder(view.encoder)
    for dataset in DATASETS:
        index = index_folder("pairs", dataset)
        job = StoreEncoder(
            f"{dataset}-{FULL}",
            fingerprint_of(read_manifest(checkpoint), encoder, view),
            lambda index=index: image_rows(checkpoint, encoder, view, index, params),  # type: ignore[misc]
            params.max_failure_rate,
        )
        job.run(image_plan(index, params.shard_rows), store_folder("pairs", FULL, dataset))


def measure(project: Path, work: Path, variants: Sequence[str]) -> dict[str, Any]:
    """Train and score these of `VARIANTS` on the repeats of the project."""
    config = load_config(project / "params.yaml")
    params, repeats, seed = config.section("train"), config.section("splits").repeats, config.section("seed")
    os.environ[WORK_VARIABLE] = str(work / "scratch")
    folder = work / "project"
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for name in LINKED:
        _link(project / "data" / name, folder / "data" / name)
    for view in ("vit", "minilm"):
        _link(project / "data/features/pairs" / view, folder / "data/features/pairs" / view)
    os.chdir(folder)
    if "all" in variants:
        encode(project)
    fits = {
        name: FitSpec(
            image=view,
            text="minilm",
            datasets=DATASETS,
            data="all",
            head=FreezeAlignHead(kind="freeze-align", local_tokens=tokens),
        )
        for name, (view, tokens) in VARIANTS.items()
        if name in variants
    }
    rows: dict[str, dict[str, Any]] = {}
    for name, fit in fits.items():
        settings = TrainSettings(name=name, fit=fit, train=params, loading=None, repeats=repeats, seed=seed)
        started, busy = time.perf_counter(), time.process_time()
        fit_aligner(settings)
        metrics = json.loads((MODELS / name / "metrics.json").read_text(encoding="utf-8"))
        rows[name] = {
            "seconds": time.perf_counter() - started,
            "cpu_seconds": time.process_time() - busy,
            "validation_recall": metrics["validation_recall"],
            "bytes_per_image": _bytes(fit),
        }
    evaluate = config.section("evaluate").model_copy(
        update={"control": "cls", "versus": {}, "showcase": "cls", "examples": 0}
    )
    found = evaluate_task(
        EvaluateSettings(
            name="retrieval",
            task=RetrievalParams(datasets=DATASETS),
            evaluate=evaluate,
            aligners={name: EvaluatedAligner(fit=fit) for name, fit in fits.items()},
            repeats=repeats,
            seed=seed,
        )
    )
    gaps = {(one.aligner, one.dataset, one.metric): one for one in found.differences if one.versus == "cls"}
    for name, row in rows.items():
        row["test"] = []
        for one in found.rows:
            if one.aligner != name or one.measure not in METRICS or one.dataset not in DATASETS:
                continue
            gap = gaps.get((name, one.dataset, one.metric))
            line: dict[str, Any] = {"dataset": one.dataset, "metric": one.measure, "value": one.value}
            line |= {"interval": list(one.ci) if one.ci else None, "chance": one.chance}
            line["minus_cls"] = {"value": gap.difference, "interval": list(gap.ci) if gap.ci else None} if gap else None
            row["test"].append(line)
        at_1 = [one["value"] for one in row["test"] if "recall@1_" in one["metric"]]
        row["mean_recall_at_1"] = statistics.fmean(at_1)
    return {"repeats": repeats, "epochs": params.epochs, "variants": rows}


def _bytes(fit: FitSpec) -> int:
    """Of the features of one image that the head reads."""
    store = FeatureStore.open(store_folder("pairs", fit.image, DATASETS[0]))
    width = int(store.shape("cls")[-1]) * 2
    tokens = {"none": 0, "mean": 1}.get(fit.local_tokens)
    if tokens is None:
        tokens = int(np.prod(store.shape(fit.local_tokens)[1:-1]))
    return width * (1 + tokens)


def _link(target: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.is_symlink():
        place.symlink_to(target.resolve())


def table(found: dict[str, Any]) -> list[str]:
    """Lines to print."""
    lines = [f"(f) default's head and steps, {found['repeats']} repeats; test scores beside chance"]
    for name, row in found["variants"].items():
        lines.append(
            f"  {name:10} {row['bytes_per_image']:6} bytes an image, {row['seconds']:6.1f} s "
            f"({row['cpu_seconds']:.1f} of processors), validation R@1 "
            f"{row['validation_recall']['mean']:.4f} ± {row['validation_recall']['sd'] or 0:.4f}, mean of 4 test R@1 "
            f"{row['mean_recall_at_1']:.4f}"
        )
        for one in row["test"]:
            low, high = one["interval"] or (float("nan"),) * 2
            gap = one["minus_cls"]
            beside = (
                f"; minus cls {gap['value']:+.4f} [{gap['interval'][0]:+.4f}, {gap['interval'][1]:+.4f}]" if gap else ""
            )
            lines.append(
                f"      {one['dataset']:7}{one['metric']:18} {one['value']:.4f} [{low:.4f}, {high:.4f}] "
                f"(chance {one['chance']:.4f}){beside}"
            )
    return lines
