"""The poster's two toy studies: are spaces that are more alike easier to align?"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config import CompareSpec, ToySpec
from pipeline.files import write_csv, write_json
from pipeline.similarity.correlation import spearman, spearman_by_encoder
from pipeline.similarity.plots import scatter
from pipeline.similarity.studies import HELD_OUT, real_points, synthetic_points

log = logging.getLogger(__name__)

SCHEMA = 1
PROTOCOL = (
    "Ease of alignment is the CLIP loss after a fixed number of iterations (the poster: 500). Two projectors of two "
    "layers with GELU and a learned logit scale (from 1/0.07, at most 40) are trained with AdamW on batches of "
    "pairs; spaces are centred and brought to a mean square of 1. `loss` is the mean over disjoint batches of the "
    "training rows after the last iteration: on few rows it measures memory, and says so by standing far below the "
    "held-out one. `heldout_loss` is the least over training of the same mean over held-out rows, looked for on "
    "these rows, `heldout_recall` recall@1 there and then. A head that tells nothing apart has ln(batch size) as "
    "loss, given as `chance_*`; fewer rows in a batch make a loss smaller, so a study's points are compared with "
    "each other only. Synthetic: Z uniform on [-1, 1], A = T1(Z) + w1 U, B = T2(Z) + w2 U with U uniform on [0, 1], "
    "T a random linear map, GELU and another one; every pair of noise levels and every seed is drawn on its own; "
    f"{HELD_OUT:.0%} of the rows are held out. Real: every kept layer (cls) of every image view with every text view, "
    "on English pairs outside the test split of repeat 0, one image per caption; the validation split is held out. "
    "The poster does not state sizes, transform, projectors, optimiser, learning rate, batch or rows: these are "
    "choices. Similarity is unbiased linear CKA, and mutual-kNN, before training. Spearman over synthetic points, "
    "whose interval resamples points, or over real pairs of spaces with the mean of their seeds, whose interval "
    "resamples encoders with all their layers; there is no p-value for those."
)
_LOSSES = ("loss", "heldout_loss", "heldout_recall")
_MEASURES = ("cka", "mutual_knn")
_MIN_ENCODERS = 4  # of either side; resampling fewer says little


def run_studies(params: ToySpec, compare: CompareSpec, *, repeats: int, seed: int, out: Path) -> str:
    """Run both studies and write toy.json, toy.summary.json, toy.csv and scatter.png.

    Args:
        repeats: number of splits, as they were drawn; only the first is used.
        out: folder to write into.

    Returns:
        A table for the terminal.

    Raises:
        DataError, StoreError, FingerprintMismatch: tables or stores are missing or do not fit each other.
    """
    points = synthetic_points(params, compare.neighbours, seed)
    real, left_out = real_points(params, compare, repeats, seed)
    points += real
    for line in left_out:
        log.warning("toy leaves out: %s", line)
    correlations = _correlations(points, compare.control, seed)
    result = {
        "schema": SCHEMA,
        "protocol": PROTOCOL,
        "params": params.model_dump(mode="json", exclude={"device"}),
        "control": compare.control,
        "points": points,
        "correlations": correlations,
        "sentences": [_sentence(c) for c in correlations],
        "left_out": left_out,
    }
    write_json(result, out / "toy.json")
    summary: dict[str, Any] = {}
    for c in correlations:
        summary.setdefault(c["study"], {}).setdefault(c["points"], {})[f"{c['measure']}_{c['against']}"] = c["spearman"]
    write_json(summary, out / "toy.summary.json")
    write_csv(points, ["study", "name", *_MEASURES, *_LOSSES], out / "toy.csv")
    scatter(points, compare.control, out / "scatter.png")
    return "\n".join([*(_sentence(c) for c in correlations), *(f"left out: {line}" for line in left_out)])


def _correlations(points: Sequence[dict[str, Any]], control: str, seed: int) -> list[dict[str, Any]]:
    """Both measures against both losses; real spaces with and without the control, an outlier."""
    correlations = []
    real = _mean_over_seeds([point for point in points if point["study"] == "real"])
    groups = [
        ("synthetic", "all", [point for point in points if point["study"] == "synthetic"]),
        ("real", "all", real),
        ("real", "without control", [point for point in real if point["image"] != control]),
    ]
    for study, which, chosen in groups:
        for measure in _MEASURES:
            for against in _LOSSES:
                x, y = (np.array([point[name] for point in chosen]) for name in (measure, against))
                entry = {"study": study, "points": which, "measure": measure, "against": against}
                if study == "synthetic":
                    correlations.append(entry | spearman(x, y, seed))
                    continue
                images, texts = (np.array([point[side] for point in chosen]) for side in ("image", "text"))
                correlations.append(entry | spearman_by_encoder(x, y, images, texts, seed))
    return correlations


def _mean_over_seeds(points: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One point per pair of spaces."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for point in points:
        groups.setdefault(point["name"], []).append(point)
    return [
        group[0] | {loss: float(np.mean([p[loss] for p in group])) for loss in _LOSSES} for group in groups.values()
    ]


def _sentence(c: dict[str, Any]) -> str:
    units = f", {c['images']} x {c['texts']} encoders" if "images" in c else ""
    what = f"{c['study']} ({c['points']}, {c['n']} points{units}): {c['measure']} against {c['against']}"
    if c["spearman"] is None:
        return f"{what}: too few points, or no variation."
    low, high = c["ci"]
    verdict = "established" if low > 0 or high < 0 else "not established"
    if "images" in c and min(c["images"], c["texts"]) < _MIN_ENCODERS:
        verdict = "too few encoders to establish anything"
    easier = (c["spearman"] < 0) != (c["against"] == "heldout_recall")
    direction = "the more alike, the easier" if easier else "the more alike, the harder"
    p = "" if c["p"] is None else f", p = {c['p']:.4f}"
    return f"{what}: Spearman {c['spearman']:.3f} [{low:.3f}, {high:.3f}]{p}: {direction}, {verdict}."
