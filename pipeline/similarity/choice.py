"""Which pair of views to align: candidates ranked on samples that no repeat ever tests.

A choice made on the train and validation samples of one repeat has seen most test samples of the others. So pairs are
ranked on the families that are in the test split of no repeat. Each view stands for the last layer that it keeps, which
is the one that heads read, with whichever of its poolings scores higher with that text view. The view with random
weights, the control, is no candidate.

The probe counts by its mean reciprocal rank, which uses every rank: near the floor recall at 1 rests on a handful of
samples, and recall at 10 saturates where a fold has few candidates.

The first two are told apart by the interval of their difference: groups of families are left out in turn and everything
is measured again without them, in the same folds (delete-a-group jackknife, Shao and Tu 1995, with the quantile of t).
A bootstrap of families with rankings and neighbours as they are would miss what other samples change in them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import t as student

from pipeline.config import CompareSpec
from pipeline.similarity.candidates import Candidates, ImageSpace, TextSpace
from pipeline.similarity.cka import unbiased_linear_cka
from pipeline.similarity.hsic import MIN_SAMPLES
from pipeline.similarity.neighbours import chance, neighbour_weights, overlap
from pipeline.similarity.probe import FOLDS, deal_families, probe_all

LEVEL = 0.95
_DEALS = 2  # of families into folds: what one deal adds by chance is averaged
_GROUPS = 20
_LEAST_FAMILIES = 10
_CHANCES = ("chance", "chance_at_1", "chance_at_10")


@dataclass(frozen=True)
class _Pair:
    """One pair of spaces and its figures."""

    image: ImageSpace
    text: TextSpace
    figures: dict[str, float]


def choose(candidates: Candidates, params: CompareSpec, seed: int) -> tuple[dict[str, Any] | None, str | None]:
    """Rank the pairs of views by `params.choose_by`.

    Returns:
        The choice as similarity.json has it, or None with the reason in words.
    """
    rows = candidates.samples.never_tested()
    families = candidates.samples.family[rows]
    found = len(np.unique(families.astype(str)))
    kept = _without_groups(families, seed) if found >= _LEAST_FAMILIES else []
    if min(map(len, kept), default=0) <= max(params.neighbours, MIN_SAMPLES):
        return None, (
            f"the choice of a pair: {len(rows)} samples of {found} families are in the test split of no repeat, at "
            f"least {max(params.neighbours, MIN_SAMPLES) + 1} samples of {_LEAST_FAMILIES} families are needed, "
            "without the largest family (fewer splits.repeats, or more data)"
        )
    images = [image for image in _last_layers(candidates.images) if image.view != params.control]
    if not images:
        return None, "the choice of a pair: the control is the only image view"
    folds = [deal_families(families, FOLDS, _DEALS * seed + deal) for deal in range(_DEALS)]
    pairs = _best_pooling(_measured(candidates, images, rows, folds, params.neighbours), params.choose_by)
    pairs.sort(key=lambda pair: (-pair.figures[params.choose_by], pair.image.view, pair.text.view))
    without = np.array([_scores(pairs, rows[left], [fold[left] for fold in folds], params) for left in kept])
    values = np.array([pair.figures[params.choose_by] for pair in pairs])
    choice: dict[str, Any] = {
        "by": params.choose_by,
        "samples": len(rows),
        "families": found,
        "chance": {"cka": 0.0, "mutual_knn": _rounded(chance(len(rows), params.neighbours))}
        | {f"probe{name.removeprefix('chance')}": _rounded(pairs[0].figures[name]) for name in _CHANCES},
        "ranking": [
            {"rank": place + 1, "image": pair.image.view, "text": pair.text.view}
            | {"layer": pair.image.layer, "pooling": pair.image.pooling}
            | {name: _rounded(value) for name, value in pair.figures.items() if name not in _CHANCES}
            | {"interval": _interval(values[place], without[:, place])}
            for place, pair in enumerate(pairs)
        ],
        "first_over_second": None,
    }
    if len(pairs) > 1:
        low, high = _interval(values[0] - values[1], without[:, 0] - without[:, 1])
        choice["first_over_second"] = {
            "difference": _rounded(values[0] - values[1]),
            "interval": (low, high),
            "told_apart": low > 0,
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
    low, high = over["interval"]
    return (
        f"{start}; {over['difference']:+.4f} [{low:+.4f}, {high:+.4f}] over {second['image']} with "
        f"{second['text']}: the two are {verdict}."
    )


def _without_groups(families: np.ndarray, seed: int) -> list[np.ndarray]:
    """The places of the samples that remain without each group of families."""
    group = deal_families(families, _GROUPS, seed)
    return [np.flatnonzero(group != number) for number in range(group.max() + 1)]


def _last_layers(images: Sequence[ImageSpace]) -> list[ImageSpace]:
    last = {image.view: image.layer for image in images}  # layers are in the order of the network
    return [image for image in images if image.layer == last[image.view]]


def _measured(
    candidates: Candidates, images: Sequence[ImageSpace], rows: np.ndarray, folds: Sequence[np.ndarray], k: int
) -> list[_Pair]:
    """Every pair of spaces with all its figures."""
    xs, ys = [image.features[rows] for image in images], [text.features[rows] for text in candidates.texts]
    every = np.arange(len(rows))
    deals = [probe_all(xs, ys, every, fold) for fold in folds]
    near = [[neighbour_weights(features, k) for features in side] for side in (xs, ys)]
    pairs = []
    for i, image in enumerate(images):
        for j, text in enumerate(candidates.texts):
            probes = [deal[i][j] for deal in deals]
            figures = {
                "probe": float(np.mean([probe.reciprocal().mean() for probe in probes])),
                "probe_recall_at_1": float(np.mean([probe.recall(1) for probe in probes])),
                "probe_recall_at_10": float(np.mean([probe.recall(10) for probe in probes])),
                "mutual_knn": float(overlap(near[0][i], near[1][j], k).mean()),
                "cka": unbiased_linear_cka(xs[i], ys[j]),
                "chance": float(np.mean([probe.chance_reciprocal() for probe in probes])),
                "chance_at_1": float(np.mean([probe.chance(1) for probe in probes])),
                "chance_at_10": float(np.mean([probe.chance(10) for probe in probes])),
            }
            pairs.append(_Pair(image, text, figures))
    return pairs


def _scores(pairs: Sequence[_Pair], rows: np.ndarray, folds: Sequence[np.ndarray], params: CompareSpec) -> list[float]:
    """What the pairs score on some samples, by the measure that ranks them; each space is prepared once."""
    images = {id(pair.image): pair.image.features[rows] for pair in pairs}
    texts = {pair.text.view: pair.text.features[rows] for pair in pairs}
    places = [(id(pair.image), pair.text.view) for pair in pairs]
    if params.choose_by == "cka":
        return [unbiased_linear_cka(images[image], texts[text]) for image, text in places]
    if params.choose_by == "mutual_knn":
        k = params.neighbours
        near = {key: neighbour_weights(space, k) for key, space in (images | texts).items()}
        return [float(overlap(near[image], near[text], k).mean()) for image, text in places]
    every = np.arange(len(rows))
    deals = [probe_all(list(images.values()), list(texts.values()), every, fold) for fold in folds]
    row, column = ({key: place for place, key in enumerate(side)} for side in (images, texts))
    return [
        float(np.mean([deal[row[image]][column[text]].reciprocal().mean() for deal in deals])) for image, text in places
    ]


def _best_pooling(pairs: Sequence[_Pair], by: str) -> list[_Pair]:
    """Of each pair of views the pooling that scores higher."""
    best: dict[tuple[str, str], _Pair] = {}
    for pair in pairs:
        key = (pair.image.view, pair.text.view)
        if key not in best or pair.figures[by] > best[key].figures[by]:
            best[key] = pair
    return list(best.values())


def _interval(value: float, without_G: np.ndarray) -> tuple[float, float]:
    """Of a figure, from what it is without each group."""
    groups = len(without_G)
    error = float(np.sqrt((groups - 1) / groups * ((without_G - without_G.mean()) ** 2).sum()))
    reach = float(student.ppf((1 + LEVEL) / 2, groups - 1)) * error
    return _rounded(value - reach), _rounded(value + reach)


def _rounded(value: float) -> float:
    return round(float(value), 6)
