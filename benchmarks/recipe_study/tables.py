"""From the parts of all repeats to tables with intervals."""

import math
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from benchmarks.recipe_study.bundle import Bundle
from benchmarks.recipe_study.rows import ALL, BASELINE, CHOSEN, CLOSED, CONTROLS, DEFAULT, PREPARED, TRAINED
from pipeline.evaluation.metrics import chance_at
from pipeline.statistics import FamilyBootstrap

DRAWS, SEED = 10_000, 0
HEAD = ("recipe", "emoji", "stamps", "mean (95 %)", "sd", "times the baseline (95 %)", "val", "trials", "s")
Parts = dict[str, list[dict[str, Any]]]  # by row, one per repeat


class Tables:
    """Rows over all repeats, on the test splits or on the families for development.

    Args:
        bundle: which queries there are.
        parts: rows that have all of `repeats`.
        repeats: the ones to take.
        between: whether intervals count what repeats differ by beyond their families.
    """

    def __init__(
        self, bundle: Bundle, parts: Parts, development: bool, repeats: Sequence[int], between: bool = False
    ) -> None:
        parts = {name: [part for part in found if part["repeat"] in repeats] for name, found in parts.items()}
        self._parts, queries = parts, _queries(bundle, development, repeats)
        self.hits = {name: _joined(found, [one[0] for one in queries]) for name, found in parts.items()}
        names = [group for group, _, _ in queries]
        self.groups = np.repeat([name.split("/")[1] for name in names], [len(one[1]) for one in queries])
        families = np.concatenate([one[1] for one in queries])
        repeat = np.repeat([int(name.split("/")[0]) for name in names], [len(one[1]) for one in queries])
        self.boot = FamilyBootstrap(families, DRAWS, SEED, self.groups, repeat if between else None)
        self.chance = self.boot.value(np.concatenate([one[2] for one in queries]))

    def row(self, name: str, baseline: str) -> dict[str, Any]:
        """The figures of one row."""
        hits, parts = self.hits[name], self._parts[name]
        row: dict[str, Any] = {"recipe": name}
        for dataset in dict.fromkeys(group.split()[0] for group in self.groups.tolist()):
            ways = [hits[self.groups == f"{dataset} {way}"].mean() for way in ("i2t", "t2i")]
            row[dataset] = float(np.mean(ways))
        by_repeat = [statistics.fmean(_share(one) for one in part["hits"].values()) for part in parts]
        row |= {"value": self.boot.value(hits), "ci": self.boot.interval(hits)}
        row |= {"by_repeat": by_repeat, "sd": statistics.stdev(by_repeat) if len(by_repeat) > 1 else 0.0}
        row["versus"] = self.versus(name, baseline)
        row["validation"] = statistics.fmean(part["validation"] for part in parts)
        row["seconds"] = statistics.median(part["seconds"] for part in parts)
        row["tried"] = max(sum(one.get("tried", 1) for one in part["trials"]) for part in parts)
        row["kept"] = [_kept(part) for part in parts]
        return row

    def versus(self, first: str, second: str) -> dict[str, Any]:
        """A paired comparison of two rows."""
        compared = self.boot.compare(self.hits[first], self.hits[second])
        drawn = self.boot.draws(self.hits[first]) - self.boot.draws(self.hits[second])
        share = max(min((drawn <= 0).mean(), (drawn >= 0).mean()), 1 / len(drawn))
        return {
            "p": min(1.0, 2 * float(share)),
            "difference": compared.difference, "ci": compared.interval, "ratio": compared.ratio,
            "ratio_ci": compared.ratio_interval, "excludes_zero": compared.excludes_zero,
        }  # fmt: skip


def holm(p_values: dict[str, float]) -> dict[str, float]:
    """P-values corrected for their number (Holm 1979): the smallest times n, the next times n - 1, never decreasing."""
    found, least = {}, 0.0
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda entry: entry[1])):
        least = max(least, min(1.0, (len(p_values) - rank) * p))
        found[name] = least
    return found


def titles(development: bool) -> dict[str, tuple[str, list[str]]]:
    """Of each table its baseline and the names of its rows, whole or not; for development one holds all."""
    if development:
        return {"development": (DEFAULT, [])}
    first = [DEFAULT, CHOSEN, *TRAINED, *CLOSED, *CONTROLS.values()]
    prepared = [f"{name}, {what}" for what in PREPARED for name in (DEFAULT, CHOSEN, BASELINE, *CLOSED)]
    return {"recipes": (BASELINE, first), "prepared": (f"{BASELINE}, {ALL}", prepared)}


def trial_means(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every trial of a trained row with its mean over repeats, best first by development, or else by validation."""
    found: dict[tuple[float, ...], list[dict[str, Any]]] = {}
    for part in parts:
        for trial in part["trials"]:
            found.setdefault((trial["steps"], trial["lr"], trial["temperature"]), []).append(trial)
    rows = []
    for (steps, rate, temperature), trials in found.items():
        row: dict[str, Any] = {"steps": steps, "lr": rate, "temperature": temperature}
        if any(trial["validation"] is None for trial in trials):
            rows.append({**row, "validation": None})
            continue
        for key in ("validation", "development", "best_step", "last_step", "last_validation"):
            if key in trials[0]:
                row[key] = statistics.fmean(trial[key] for trial in trials)
        rows.append(row)
    return sorted(rows, key=lambda row: -(row.get("development", row["validation"]) or 0.0))


def cells(row: dict[str, Any]) -> Iterator[str]:
    """A line of a table in Markdown."""
    yield row["recipe"]
    yield from (f"{row[key]:.3f}" for key in ("emoji", "stamps"))
    yield f"{row['value']:.3f} ({row['ci'][0]:.3f}-{row['ci'][1]:.3f})"
    yield f"{row['sd']:.3f}"
    versus, (low, high) = row["versus"], row["versus"]["ratio_ci"] or (math.nan, math.nan)
    own = versus["difference"] == 0.0 and low == high
    ratio = math.nan if versus["ratio"] is None else versus["ratio"]
    yield "1" if own else f"{ratio:.2f}{'*' if versus['excludes_zero'] else ''} ({low:.2f}-{high:.2f})"
    yield f"{row['validation']:.3f}"
    yield str(row["tried"])
    yield f"{row['seconds']:.1f}"


def _queries(bundle: Bundle, development: bool, repeats: Sequence[int]) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Per repeat, data set and direction: "<repeat>/<data set> <direction>", families and chance of the queries."""
    found = []
    for repeat in repeats:
        for dataset, items in bundle.tested(repeat, development).items():
            for way, positives in (("i2t", items.positives), ("t2i", items.positives[:, ::-1])):
                families, counts, candidates = items.side(way)
                del positives
                found.append((f"{repeat}/{dataset} {way}", families, chance_at(counts, candidates, 1)))
    return found


def _joined(parts: list[dict[str, Any]], names: list[str]) -> np.ndarray:
    by_repeat = {part["repeat"]: part["hits"] for part in parts}
    strings = [by_repeat[int(name.split("/")[0])][name.split("/")[1]] for name in names]
    return np.concatenate([np.array(list(one), dtype=np.int8).astype(np.float64) for one in strings])


def _share(hits: str) -> float:
    return hits.count("1") / len(hits)


def _kept(part: dict[str, Any]) -> dict[str, Any] | None:
    """The trial that validation chose, of a trained row."""
    tried = [trial for trial in part["trials"] if trial.get("validation") is not None]
    return max(tried, key=lambda trial: trial["validation"]) if tried else None
