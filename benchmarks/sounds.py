"""Sounds of the stamps: what preset audio finds, and a map into a standing space that is fitted without pairs.

    permafrost init --preset audio && dvc repro evaluate@cross_retrieval evaluate@cross_classification
    python benchmarks/sounds.py --root . --out benchmarks/results/sounds.json

Without pairs there is nothing but the moments of either side: both are whitened on the training split of a repeat, and
their principal directions are joined in the order of their variance, with the sign that makes their skewness agree.
"""

import argparse
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.config import EvaluateSettings, load_config
from pipeline.datasets.caption_pairs import read_caption_pairs
from pipeline.evaluation.cross_retrieval import evaluate_cross_retrieval
from pipeline.evaluation.embeddings import TrainedAligner
from pipeline.evaluation.results import TaskResult
from pipeline.features.views import open_view
from pipeline.files import write_json
from pipeline.paths import RESULTS

STANDING, WITHOUT = "sounds-added", "without-pairs"
KEPT = ("aligner", "metric", "language", "prompt_set", "value", "ci", "chance", "n_items", "n_families", "n_candidates")
COMPARED = ("aligner", "versus", "metric", "language", "difference", "ci", "excludes_zero", "established", "p")


class WithoutPairs:
    """The space of an aligner, and sounds that are brought into it by the moments of both sides alone."""

    name = WITHOUT

    def __init__(self, standing: TrainedAligner, repeats: int) -> None:
        self._standing, self._repeats = standing, repeats
        self._maps: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}

    def takes(self, *modalities: str) -> bool:
        """See `TrainedAligner`."""
        return self._standing.takes(*modalities)

    def has(self, modality: str, dataset: str, ids: Any, group: str = "pairs") -> np.ndarray:
        """See `TrainedAligner`."""
        return self._standing.has(modality, dataset, ids, group)

    def vectors(self, repeat: int, modality: str, dataset: str, ids: Any, group: str = "pairs") -> np.ndarray:
        """See `TrainedAligner`; sounds go through a map of their own."""
        if modality != "audio":
            return self._standing.vectors(repeat, modality, dataset, ids, group)
        if repeat not in self._maps:
            self._maps[repeat] = self._fitted(repeat, dataset)
        mean, matrix, offset = self._maps[repeat]
        mapped = (self._heard(dataset, ids) - mean) @ matrix + offset
        unit: np.ndarray = (mapped / np.linalg.norm(mapped, axis=1, keepdims=True)).astype(np.float32)
        return unit

    def _heard(self, dataset: str, ids: Any) -> np.ndarray:
        rows = open_view(self._standing.views["image"], [dataset])[dataset].read("cls", np.asarray(ids, dtype=str))
        return np.asarray(rows[:, -1], np.float64)

    def _fitted(self, repeat: int, dataset: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        train = read_caption_pairs([dataset], self._repeats, modality="audio").of(repeat, "train")
        heard = self._heard(dataset, np.unique(train.image_id.astype(str)))
        texts = self._standing.vectors(repeat, "text", dataset, np.unique(train.text_id.astype(str))).astype(np.float64)
        count = min(64, len(heard), len(texts))
        one, other = (_principal(rows, count) for rows in (heard, texts))
        signs = np.sign(one[2] * other[2])
        signs[signs == 0] = 1
        matrix = (one[0] / one[1]) * signs @ (other[0] * other[1]).T
        return heard.mean(0), matrix, texts.mean(0)


def _principal(rows: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Principal directions (D, K), their standard deviations and skewness (K,)."""
    centred = rows - rows.mean(0)
    values, vectors = np.linalg.eigh(centred.T @ centred / len(rows))
    order = np.argsort(-values)[:count]
    scale = np.sqrt(np.maximum(values[order], 1e-12))
    scores = centred @ vectors[:, order] / scale
    return vectors[:, order], scale, (scores**3).mean(0)


def _kept(entries: Any, names: tuple[str, ...]) -> list[dict[str, Any]]:
    out = []
    for entry in entries:
        written = {name: value for name, value in asdict(entry).items() if name in names and value is not None}
        out.append({name: _rounded(value) for name, value in written.items()})
    return out


def _rounded(value: Any) -> Any:
    if isinstance(value, tuple):
        return [round(end, 4) for end in value]
    return round(value, 4) if isinstance(value, float) else value


def main() -> None:
    """Write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path())
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    out = given.out.resolve()
    os.chdir(given.root)
    config = load_config(Path("params.yaml"))
    settings = config.settings("evaluate", "cross_retrieval")
    assert isinstance(settings, EvaluateSettings)
    results = {name: TaskResult.read(RESULTS / f"{name}.json") for name in ("cross_retrieval", "cross_classification")}
    standing = TrainedAligner(STANDING, settings.aligners[STANDING], settings.repeats, torch.device("cpu"))
    rows: Any = [standing, WithoutPairs(standing, settings.repeats)]
    params = settings.evaluate.model_copy(update={"versus": {STANDING: WITHOUT}, "control": None})
    unpaired = evaluate_cross_retrieval(rows, settings.task, params, settings.repeats, settings.seed).result  # type: ignore[arg-type]
    content: dict[str, Any] = {
        name: {
            "protocol": result.protocol,
            "rows": _kept(result.rows, KEPT),
            "differences": _kept(result.differences, COMPARED),
            "left_out": list(result.left_out),
        }
        for name, result in results.items()
    }
    sets = {one.dataset for one in settings.task.sets}  # type: ignore[attr-defined]
    content["data"] = {name: config.params.datasets[name].model_dump(mode="json") for name in sorted(sets)}
    content["without_pairs"] = {
        "rows": _kept((row for row in unpaired.rows if row.aligner == WITHOUT), KEPT),
        "differences": _kept(unpaired.differences, COMPARED),
    }
    write_json(content, out)


if __name__ == "__main__":
    main()
