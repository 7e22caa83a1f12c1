"""Training an aligner: every repeat, and what is written about it."""

import csv
import logging
import statistics
from dataclasses import asdict, fields
from pathlib import Path

import torch

from pipeline.alignment.data import load_alignment_data
from pipeline.alignment.heads import parameter_count
from pipeline.alignment.model import HeadConfig, save_heads
from pipeline.alignment.trainer import EpochRecord, TrainedRepeat, train_repeat
from pipeline.alignment.untrained import record_identity
from pipeline.config.schema import AlignerSpec, TrainParams
from pipeline.device import choose_device
from pipeline.files import write_json
from pipeline.paths import MODELS

log = logging.getLogger(__name__)

CURVES_FILE = "curves.csv"
METRICS_FILE = "metrics.json"


def train_aligner(name: str, spec: AlignerSpec, params: TrainParams, repeats: int, seed: int) -> HeadConfig:
    """Train the aligner `name` once per split and write data/models/<name>.

    With head `identity` nothing is trained, and no weights are written (see `record_identity`).

    Repeat i is initialised with seed `seed * repeats + i`, as its split was drawn. Written are repeat_<i>/
    heads.safetensors, curves.csv (a line per epoch, as it ends), metrics.json and, last, config.json.

    Raises:
        DataError, StoreError, FingerprintMismatch: as `load_alignment_data` and `record_identity`.
        ModelError: training diverged.
    """
    if spec.head == "identity":
        return record_identity(name, spec, repeats)
    data = load_alignment_data(name, spec, repeats, torch.device(choose_device(params.device)), params)
    vision_dim, text_dim = data.features.vision_dim, data.features.text_dim
    folder = MODELS / name
    folder.mkdir(parents=True, exist_ok=True)
    results = []
    with open(folder / CURVES_FILE, "w", encoding="utf-8", newline="") as file:
        curves = csv.DictWriter(file, [field.name for field in fields(EpochRecord)], lineterminator="\n")
        curves.writeheader()

        def write(record: EpochRecord) -> None:
            curves.writerow(asdict(record))
            file.flush()

        for repeat in range(repeats):
            result = train_repeat(
                data,
                params,
                spec=spec,
                repeat=repeat,
                seed=seed * repeats + repeat,
                on_epoch=write,
            )
            save_heads(result.head, folder, repeat)
            results.append(result)
            log.info(
                "%s repeat %d: validation R@1 %.4f at epoch %d, %.1f s",
                name, repeat, result.val_recall, result.best_epoch, result.seconds,
            )  # fmt: skip
    _write_metrics(folder, results, [len(pairs) for pairs in data.train])
    config = HeadConfig(
        aligner=name,
        head=spec.head,
        vision_dim=vision_dim,
        text_dim=text_dim,
        embed_dim=spec.embed_dim or text_dim,
        local_tokens=spec.local_tokens,
        text_tokens=spec.text_tokens,
        image_view=spec.image,
        text_view=spec.text,
        fingerprints=data.fingerprints,
        data=data.datasets,
        repeats=repeats,
        seeds=tuple(result.seed for result in results),
        best_epochs=tuple(result.best_epoch for result in results),
        parameters=parameter_count(results[0].head),
    )
    config.write(folder)
    return config


def _write_metrics(folder: Path, results: list[TrainedRepeat], training_pairs: list[int]) -> None:
    recalls = [result.val_recall for result in results]
    summary = {
        "validation_recall": {
            "mean": statistics.fmean(recalls),
            "sd": statistics.stdev(recalls) if len(recalls) > 1 else None,
        },
        "seconds": sum(result.seconds for result in results),
        "samples_seen": sum(result.samples_seen for result in results),
        "parameters": parameter_count(results[0].head),
        "repeats": {
            f"repeat_{i}": {
                "validation_recall": result.val_recall,
                "best_epoch": result.best_epoch,
                "seconds": result.seconds,
                "samples_seen": result.samples_seen,
                "training_pairs": training_pairs[i],
            }
            for i, result in enumerate(results)
        },
    }
    write_json(summary, folder / METRICS_FILE)
