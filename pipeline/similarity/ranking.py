"""From measures to records: mean and spread over repeats, nulls, and the control beside every value."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.similarity.calibration import LEVEL, against_null
from pipeline.similarity.candidates import Candidates
from pipeline.similarity.measure import RepeatMeasures
from pipeline.statistics import WeightedMeanBootstrap, spread

_DRAWS = 1000


def rank_pairs(
    candidates: Candidates, measures: Sequence[RepeatMeasures], control: str, seed: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Records of all pairs of spaces, highest CKA first, and of the best layer and pooling of each pair of views.

    The control stands beside each value with the highest figure that any of its layers and poolings reaches with that
    text view, for CKA and for mutual-kNN on its own: a candidate has to beat the best of the control.
    """
    cka = np.array([m.cka for m in measures])  # (R, I, T)
    knn = np.array([m.mutual_knn for m in measures])
    intervals = _Intervals(candidates, measures, seed)
    of_control = np.array([space.view == control for space in candidates.images])
    records = []
    for t, text in enumerate(candidates.texts):
        best_cka, best_knn = (_best_of(values.mean(axis=0)[:, t], of_control) for values in (cka, knn))
        for i, image in enumerate(candidates.images):
            record: dict[str, Any] = {
                "image": image.view,
                "text": text.view,
                "layer": image.layer,
                "pooling": image.pooling,
                "control": bool(of_control[i]),
                "cka": _rounded(cka[:, i, t].mean()),
                "cka_sd": _sd(cka[:, i, t]),
                "cka_biased": _rounded(np.mean([m.cka_biased[i, t] for m in measures])),
                **_against_null("cka", cka[:, i, t], [m.cka_null[:, i, t] for m in measures]),
                "mutual_knn": _rounded(knn[:, i, t].mean()),
                "mutual_knn_sd": _sd(knn[:, i, t]),
                "mutual_knn_ci": intervals.value(i, t),
                **_against_null("mutual_knn", knn[:, i, t], [m.knn_null[:, i, t] for m in measures]),
                "control_cka": _rounded(cka[:, best_cka, t].mean()),
                "control_mutual_knn": _rounded(knn[:, best_knn, t].mean()),
            }
            if not of_control[i]:
                record["cka_repeats_above_control"] = int((cka[:, i, t] > cka[:, best_cka, t]).sum())
                record["mutual_knn_difference"] = _rounded((knn[:, i, t] - knn[:, best_knn, t]).mean())
                record["mutual_knn_difference_ci"] = intervals.difference(i, best_knn, t)
            record["_place"] = (i, t)
            records.append(record)
    records.sort(key=lambda r: (-r["cka"], r["image"], r["text"], r["layer"], r["pooling"]))
    for rank, record in enumerate(records, start=1):
        record["rank"] = rank
    best = _best_of_views(records, measures)
    return [{name: value for name, value in r.items() if name != "_place"} for r in records], best


def _best_of_views(records: list[dict[str, Any]], measures: Sequence[RepeatMeasures]) -> list[dict[str, Any]]:
    """Of each pair of views the record of highest CKA, with the null of the maximum over its layers and poolings."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for record in records:
        groups.setdefault((record["image"], record["text"]), []).append(record)
    best = []
    for group in groups.values():
        by_cka, by_knn = group[0], max(group, key=lambda r: (r["mutual_knn"], -r["rank"]))
        searched = np.array([r["_place"][0] for r in group])
        t = by_cka["_place"][1]
        entry = {name: value for name, value in by_cka.items() if name != "_place"}
        entry |= {"searched": len(group)}
        values = [m.cka[by_cka["_place"]] for m in measures]
        entry |= _against_null("cka_max", values, [m.cka_null[:, searched, t].max(axis=1) for m in measures])
        values = [m.mutual_knn[by_knn["_place"]] for m in measures]
        nulls = [m.knn_null[:, searched, t].max(axis=1) for m in measures]
        names = ("layer", "pooling", "mutual_knn", "mutual_knn_ci", "mutual_knn_difference", "mutual_knn_difference_ci")
        entry["best_by_mutual_knn"] = {name: by_knn[name] for name in names if name in by_knn}
        entry["best_by_mutual_knn"] |= _against_null("mutual_knn_max", values, nulls)
        best.append(entry)
    return best


class _Intervals:
    """Intervals of mutual-kNN over the samples of all repeats; a family in several repeats is one cluster."""

    def __init__(self, candidates: Candidates, measures: Sequence[RepeatMeasures], seed: int) -> None:
        families = np.concatenate([candidates.samples.family[m.rows] for m in measures])
        weights = np.concatenate([np.full(len(m.rows), 1 / (len(measures) * len(m.rows))) for m in measures])
        self._bootstrap = WeightedMeanBootstrap(families, _DRAWS, seed, weights)
        self._overlaps = np.concatenate([m.overlaps for m in measures], axis=2)  # (I, T, M)

    def value(self, image: int, text: int) -> list[float] | None:
        return self._of(self._overlaps[image, text])

    def difference(self, image: int, other: int, text: int) -> list[float] | None:
        return self._of(self._overlaps[image, text] - self._overlaps[other, text])

    def _of(self, values: np.ndarray) -> list[float] | None:
        interval = self._bootstrap.interval(values, LEVEL)
        return None if interval is None else [_rounded(end) for end in interval]


def _against_null(name: str, values: Sequence[float] | np.ndarray, nulls: Sequence[np.ndarray]) -> dict[str, float]:
    """Of each repeat's own null: the mean threshold, the largest p-value, and the mean calibrated score."""
    found = [against_null(float(value), null) for value, null in zip(values, nulls, strict=True)]
    return {
        f"{name}_null_q95": _rounded(np.mean([f.threshold for f in found])),
        f"{name}_p": _rounded(max(f.p for f in found)),
        f"{name}_calibrated": _rounded(np.mean([f.score for f in found])),
    }


def _best_of(values: np.ndarray, mask: np.ndarray) -> int:
    return int(np.flatnonzero(mask)[np.argmax(values[mask])])


def _rounded(value: float | np.floating[Any]) -> float:
    """Six decimals; further ones depend on the order of a sum, and so on the machine."""
    return round(float(value), 6)


def _sd(values: np.ndarray) -> float | None:
    deviation = spread(values)
    return None if deviation is None else _rounded(deviation)
