"""Computing the head of every repeat."""

import csv
import logging
import time
from pathlib import Path
from typing import Any

from pipeline.alignment.artefact import FittedHeads, totals
from pipeline.alignment.closed_form.fit import fit_closed, resolved
from pipeline.alignment.data.load import AlignmentData
from pipeline.alignment.fusion import behind, input_maps, through
from pipeline.alignment.heads.fitted import fitted_and_kept
from pipeline.alignment.standing import seen_from
from pipeline.config import ClosedFormHead

log = logging.getLogger(__name__)


def compute_heads(
    name: str, spec: ClosedFormHead, data: AlignmentData, repeats: int, seed: int, folder: Path
) -> FittedHeads:
    """Compute a head per split. There are no epochs: curves.csv has a line per repeat, with its validation recall.

    Args:
        seed: random features and landmarks of repeat i are drawn with seed `seed * repeats + i`.
        folder: where curves.csv goes.

    Raises:
        DataError: as `fit_closed`.
    """
    spec, choices = resolved(spec, data)
    seeds = tuple(seed * repeats + repeat for repeat in range(repeats))
    rows: list[dict[str, Any]] = []
    heads = []
    width = 0
    counts = []
    for repeat in range(repeats):
        started = time.perf_counter()
        maps, seen = input_maps(data, repeat), seen_from(data, repeat)
        head, recall, tried = fit_closed(spec, through(seen, maps), repeat, seeds[repeat])
        head = behind(head, maps)
        seconds = time.perf_counter() - started
        heads.append(head)
        one = data.train[repeat][:1]
        width = max(width, head.text_features(seen.features.texts.read(one[:, 1])).shape[1])
        log.info("%s repeat %d: validation R@1 %.4f of %d tried, %.1f s", name, repeat, recall, tried, seconds)
        counts.append(fitted_and_kept(head))
        pairs = len(data.train[repeat])
        rows.append(
            {
                "validation_recall": recall,
                "tried": tried,
                "seconds": seconds,
                "samples_seen": pairs,
                "training_pairs": pairs,
            }
        )
    with open(folder / "curves.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["repeat", "step", "val_recall"])
        writer.writerows([repeat, 1, row["validation_recall"]] for repeat, row in enumerate(rows))
    fitted, kept = (max(count) for count in zip(*counts, strict=True))
    metrics = totals(rows, fitted, kept)
    return FittedHeads(tuple(heads), width, metrics, seeds, parameters=fitted, kept=kept, choices=choices)
