"""An aligner with head `closed`: every repeat fitted, and what is written about it."""

import csv
import logging
import time
from typing import Any

import torch

from pipeline.alignment.closed_form.fit import fit_closed
from pipeline.alignment.data.load import load_alignment_data
from pipeline.alignment.saved import HeadConfig, save_heads
from pipeline.alignment.training.summary import totals
from pipeline.config import AlignerSpec, TrainParams
from pipeline.device import choose_device
from pipeline.files import write_json
from pipeline.paths import MODELS

log = logging.getLogger(__name__)


def fit_aligner(name: str, spec: AlignerSpec, params: TrainParams, repeats: int, seed: int) -> HeadConfig:
    """Fit the aligner `name` once per split and write data/models/<name>, as `train_aligner` does.

    There are no epochs: curves.csv has one line per repeat, with its validation recall.

    Args:
        params: where features are loaded to, and how.
        seed: random features and landmarks of repeat i are drawn with seed `seed * repeats + i`.

    Raises:
        DataError, StoreError, FingerprintMismatch: as `load_alignment_data` and `fit_closed`.
    """
    params = params.changed(spec.train)
    data = load_alignment_data(name, spec, repeats, torch.device(choose_device(params.device)), params)
    folder = MODELS / name
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    seeds = [seed * repeats + repeat for repeat in range(repeats)]
    width = fitted = 0
    for repeat in range(repeats):
        started = time.perf_counter()
        head, recall, tried = fit_closed(spec, data, repeat, seeds[repeat])
        seconds = time.perf_counter() - started
        save_heads(head, folder, repeat)
        one = data.train[repeat][:1]
        width = max(width, head.text_features(data.features.texts.read(one[:, 1])).shape[1])
        log.info("%s repeat %d: validation R@1 %.4f of %d tried, %.1f s", name, repeat, recall, tried, seconds)
        fitted = max(fitted, sum(buffer.numel() for buffer in head.buffers()))
        rows.append(
            {
                "validation_recall": recall,
                "tried": tried,
                "seconds": seconds,
                "samples_seen": len(data.train[repeat]),
                "training_pairs": len(data.train[repeat]),
            }
        )
    with open(folder / "curves.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["repeat", "step", "val_recall"])
        writer.writerows([repeat, 1, row["validation_recall"]] for repeat, row in enumerate(rows))
    write_json(totals(rows, fitted), folder / "metrics.json")
    config = HeadConfig.of(
        name,
        spec,
        data.features.images.width,
        data.features.texts.width,
        embed_dim=width,
        fingerprints=data.fingerprints,
        data=data.datasets,
        repeats=repeats,
        seeds=tuple(seeds),
        best_epochs=(),
        parameters=fitted,
    )
    config.write(folder)
    return config
