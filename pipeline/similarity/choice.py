"""Which pair of views to align: candidates ranked on samples that no repeat ever tests.

A choice made on the train and validation samples of one repeat has seen most test samples of the others. So pairs are
ranked on the families that are in the test split of no repeat. Each view stands for the last layer that it keeps, which
is the one that heads read, with whichever of its poolings scores higher with that text view. The view with random
weights, the control, is no candidate.

The probe counts by its mean reciprocal rank, which uses every rank: near the floor recall at 1 rests on a handful of
samples, and recall at 10 saturates where a fold has few candidates.

The first two are told apart by the interval of their difference. The score of the probe and mutual-kNN are means
over samples: families are resampled, with rankings and neighbours as they are. CKA is not: groups of families are left
out in turn (delete-a-group jackknife, Shao and Tu 1995).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.config import CompareSpec
from pipeline.similarity.candidates import Candidates, ImageSpace
from pipeline.similarity.cka import unbiased_linear_cka
from pipeline.similarity.hsic import MIN_SAMPLES
from pipeline.similarity.neighbours import chance, neighbour_weights, overlap
from pipeline.similarity.probe import deal_families, probe_all
from pipeline.statistics import FamilyBootstrap, Interval

LEVEL = 0.95
_DRAWS = 2000
_DEALS = 3  # of families into folds: what one deal adds by chance is averaged
_GROUPS = 40
_LEAST_FAMILIES = 10
_CHANCES = ("chance", "chance_at_1", "chance_at_10")
_NORMAL = 1.959964  # two-sided 95 % of a normal distribution


@dataclass(frozen=True)
class _Pair:
    """One pair of spaces: its figures, and what its difference from another is found from."""

    image: ImageSpace
    text: str
    figures: dict[str, float]
    outcomes: dict[str, np.ndarray]


def choose(candidates: Candidates, params: CompareSpec, seed: int) -> tuple[dict[str, Any] | None, str | None]:
    """Rank the pairs of views by `params.choose_by`.

    Returns:
        The choice as similarity.json has it, or None with the reason in words.
    """
    rows = candidates.samples.never_tested()
    families = candidates.samples.family[rows]
    found = len(np.unique(families.astype(str)))
    if found < _LEAST_FAMILIES or len(rows) <= max(params.neighbours, MIN_SAMPLES):
        return None, (
            f"the choice of a pair: {len(rows)} samples of {found} families are in the test split of no repeat, at "
            f"least {max(params.neighbours, MIN_SAMPLES) + 1} samples of {_LEAST_FAMILIES} families are needed (fewer "
            "splits.repeats, or more data)"
        )
    images = [image for image in _last_layers(candidates.images) if image.view != params.control]
    if not images:
        return None, "the choice of a pair: the control is the only image view"
    pairs = _best_pooling(_measured(candidates, images, rows, params.neighbours, seed), params.choose_by)
    pairs.sort(key=lambda pair: (-pair.figures[params.choose_by], pair.image.view, pair.text))
    bootstrap = FamilyBootstrap(families, _DRAWS, seed)
    choice: dict[str, Any] = {
        "by": params.choose_by,
        "samples": len(rows),
        "families": found,
        "chance": {"cka": 0.0, "mutual_knn": _rounded(chance(len(rows), params.neighbours))}
        | {f"probe{name.removeprefix('chance')}": _rounded(pairs[0].figures[name]) for name in _CHANCES},
        "ranking": [
            {"rank": rank, "image": pair.image.view, "text": pair.text}
            | {"layer": pair.image.layer, "pooling": pair.image.pooling}
            | {name: _rounded(value) for name, value in pair.figures.items() if name not in _CHANCES}
            | {"interval": _ends(_interval(pair, None, params.choose_by, candidates, rows, bootstrap, seed))}
            for rank, pair in enumerate(pairs, start=1)
        ],
        "first_over_second": None,
    }
    if len(pairs) > 1:
        interval = _interval(pairs[0], pairs[1], params.choose_by, candidates, rows, bootstrap, seed)
        choice["first_over_second"] = {
            "difference": _rounded(pairs[0].figures[params.choose_by] - pairs[1].figures[params.choose_by]),
            "interval": _ends(interval),
            "told_apart": interval is not None and interval[0] > 0,
        }
    return choice, None


def sentence(choice: dict[str, Any]) -> str:
    """The winner, and whether it can be told from the second."""
    first = choice["ranking"][0]
    name = {"probe": "mean reciprocal rank of the CCA probe", "mutual_knn": "mutual-kNN", "cka": "CKA"}[choice["by"]]
    start = (
        f"First of {len(choice['ranking'])} pairs by {name} on {choice['samples']} samples that no repeat tests: "
        f"{first['image']} with {first['text']} ({first[choice['by']]:.4f})"
    )
    if (over := choice["first_over_second"]) is None:
        return f"{start}, the only one."
    second = choice["ranking"][1]
    verdict = "told apart" if over["told_apart"] else "not told apart"
    interval = "" if over["interval"] is None else " [{:+.4f}, {:+.4f}]".format(*over["interval"])
    return (
        f"{start}; {over['difference']:+.4f}{interval} over {second['image']} with {second['text']}: the two are "
        f"{verdict}."
    )


def _last_layers(images: Sequence[ImageSpace]) -> list[ImageSpace]:
    last = {image.view: image.layer for image in images}  # layers are in the order of the network
    return [image for image in images if image.layer == last[image.view]]


def _measured(candidates: Candidates, images: Sequence[ImageSpace], rows: np.ndarray, k: int, seed: int) -> list[_Pair]:
    xs, ys = [image.features[rows] for image in images], [text.features[rows] for text in candidates.texts]
    deals = [probe_all(xs, ys, candidates.samples.family[rows], seed=_DEALS * seed + deal) for deal in range(_DEALS)]
    near = [[neighbour_weights(features, k) for features in side] for side in (xs, ys)]
    pairs = []
    for i, image in enumerate(images):
        for j, text in enumerate(candidates.texts):
            probes, shared = [deal[i][j] for deal in deals], overlap(near[0][i], near[1][j], k)
            reciprocal = np.mean([probe.reciprocal() for probe in probes], axis=0)
            figures = {
                "probe": float(reciprocal.mean()),
                "probe_recall_at_1": float(np.mean([probe.recall(1) for probe in probes])),
                "probe_recall_at_10": float(np.mean([probe.recall(10) for probe in probes])),
                "mutual_knn": float(shared.mean()),
                "cka": unbiased_linear_cka(xs[i], ys[j]),
                "chance": float(np.mean([probe.chance_reciprocal() for probe in probes])),
                "chance_at_1": float(np.mean([probe.chance(1) for probe in probes])),
                "chance_at_10": float(np.mean([probe.chance(10) for probe in probes])),
            }
            pairs.append(_Pair(image, text.view, figures, {"probe": reciprocal, "mutual_knn": shared}))
    return pairs


def _best_pooling(pairs: Sequence[_Pair], by: str) -> list[_Pair]:
    """Of each pair of views the pooling that scores higher."""
    best: dict[tuple[str, str], _Pair] = {}
    for pair in pairs:
        key = (pair.image.view, pair.text)
        if key not in best or pair.figures[by] > best[key].figures[by]:
            best[key] = pair
    return list(best.values())


def _interval(
    pair: _Pair,
    other: _Pair | None,
    by: str,
    candidates: Candidates,
    rows: np.ndarray,
    bootstrap: FamilyBootstrap,
    seed: int,
) -> Interval | None:
    """Of the figure of a pair, or of its difference from another's."""
    if by != "cka":
        return bootstrap.interval(pair.outcomes[by] - (0.0 if other is None else other.outcomes[by]), LEVEL)
    texts = {text.view: text.features for text in candidates.texts}
    sides = [(one.image.features[rows], texts[one.text][rows]) for one in (pair, other) if one is not None]
    group = deal_families(candidates.samples.family[rows], _GROUPS, seed)

    def difference(kept: np.ndarray) -> float:
        values = [unbiased_linear_cka(x[kept], y[kept]) for x, y in sides]
        return values[0] - (values[1] if other is not None else 0.0)

    groups = int(group.max()) + 1
    without = np.array([difference(group != number) for number in range(groups)])
    reach = _NORMAL * float(np.sqrt((groups - 1) / groups * ((without - without.mean()) ** 2).sum()))
    value = difference(np.ones(len(rows), dtype=bool))
    return value - reach, value + reach


def _rounded(value: float) -> float:
    return round(float(value), 6)


def _ends(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [_rounded(end) for end in interval]
