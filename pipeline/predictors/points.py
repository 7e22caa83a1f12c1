"""One point per image space and text space: what is known before alignment, and how well they align.

Shapes: N images, R repeats, I image spaces, T text spaces.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.config import CompareSpec, PredictorsSpec
from pipeline.datasets.caption_pairs import samples_by_image
from pipeline.predictors.ease import Held, Recall, both, cca_maps, held_out, kernel_maps, recall
from pipeline.predictors.image_scores import knn_accuracy, linear_accuracy
from pipeline.progress import tqdm
from pipeline.similarity.candidates import Candidates, ImageSpace
from pipeline.similarity.neighbours import cknna, mutual_knn
from pipeline.similarity.registry import MEASURES
from pipeline.similarity.samples import Captioned

SIMILARITIES = ("cka", "cka_biased", "rbf_cka", "cknna", "mutual_knn")
MIN_CLASS = 2  # pictures that a class needs on both sides to be scored
Rows = np.ndarray


@dataclass(frozen=True)
class Split:
    """Rows of one repeat; `compared` are those of similarity, one per caption and none of the test split."""

    train: Rows
    compared: Rows
    validation: tuple[Held, ...]
    test: tuple[Held, ...]


def splits_of(samples: Captioned, repeats: int) -> list[Split]:
    """The rows of each repeat; held-out rows by data set. A repeat without held-out rows of both kinds is left out."""
    found = []
    for repeat in range(repeats):
        split = samples.splits[:, repeat]
        validation, test = (tuple(_held(samples, split == name)) for name in ("validation", "test"))
        train = np.flatnonzero(split == "train")
        if len(train) > 1 and validation and test:
            found.append(Split(train, samples.outside_test(repeat), validation, test))
    return found


def _held(samples: Captioned, mask: np.ndarray) -> Iterator[Held]:
    for dataset in dict.fromkeys(samples.dataset.astype(str)):
        rows = np.flatnonzero(mask & (samples.dataset == dataset))
        if len(rows) > 1:
            yield held_out(rows, [samples.captions[row] for row in rows])


def pair_points(
    candidates: Candidates, splits: Sequence[Split], params: PredictorsSpec, compare: CompareSpec
) -> list[dict[str, Any]]:
    """Similarities, the probe and recall after alignment of every pair of spaces, means over repeats.

    The probe is CCA alone, fitted on the train split and asked for validation families; alignment is CCA and kernel
    ridge on the same rows, asked for test families.
    """
    points = []
    compared = [_spread(split.compared, params.samples) for split in splits]
    pairs = [(i, t) for i in range(len(candidates.images)) for t in range(len(candidates.texts))]
    for i, t in tqdm(pairs, desc="predictors", unit="pair"):
        image, text = candidates.images[i], candidates.texts[t]
        similar = [_similar(image.features[rows], text.features[rows], compare.neighbours) for rows in compared]
        aligned = [_align(image.features, text.features, split, params) for split in splits]
        figures: dict[str, Any] = {name: _mean([one[name] for one in similar]) for name in similar[0]}
        for part, recalls in (("probe", [p for p, _ in aligned]), ("aligned", [a for _, a in aligned])):
            figures[f"{part}_recall@1"] = _mean([one.at_1 for one in recalls])
            figures[f"{part}_recall@10"] = _mean([one.at_10 for one in recalls])
            figures[f"{part}_recall@10_sd"] = round(float(np.std([one.at_10 for one in recalls])), 6)
            figures[f"{part}_chance@10"] = _mean([one.chance_at_10 for one in recalls])
        names = {"image": image.view, "layer": image.layer, "text": text.view}
        points.append({"name": f"{image.view}[{image.layer}] x {text.view}", **names, **figures})
    return points


def _similar(x: np.ndarray, y: np.ndarray, k: int) -> dict[str, float]:
    of_neighbours = {"cknna": cknna, "mutual_knn": mutual_knn}
    return {
        name: of_neighbours[name](x, y, k) if name in of_neighbours else MEASURES[name](x, y) for name in SIMILARITIES
    }


def _spread(rows: Rows, most: int) -> Rows:
    """At most so many of the rows, evenly spaced."""
    return rows if len(rows) <= most else rows[np.arange(most) * len(rows) // most]


def _align(x: np.ndarray, y: np.ndarray, split: Split, params: PredictorsSpec) -> tuple[Recall, Recall]:
    """Recall of the probe on validation rows and of the aligned pair on test rows, means over data sets."""
    linear = cca_maps(x[split.train], y[split.train], params.shrink)
    whole = both(linear, kernel_maps(x[split.train], y[split.train], params.ridge))
    figures = []
    for maps, held in ((linear, split.validation), (whole, split.test)):
        by_dataset = [recall(maps[0](x[one.rows]), maps[1](y[one.rows]), one) for one in held]
        values = [(one.at_1, one.at_10, one.chance_at_10) for one in by_dataset]
        figures.append(Recall(*(float(value) for value in np.mean(values, axis=0))))
    return figures[0], figures[1]


def image_scores(
    spaces: Sequence[ImageSpace], samples: Captioned, splits: Sequence[Split], repeats: int, k: int
) -> list[dict[str, Any]]:
    """k-NN and linear probe of each image space on the categories, from train rows to validation rows.

    Means over repeats and over the data sets that have categories; None where none has.
    """
    known = samples_by_image(("category",), repeats)
    keys = zip(samples.dataset, samples.image_id, strict=True)
    category = np.array([known[key][0] or "" for key in keys], dtype=object)
    scores = []
    for space in spaces:
        found = []
        for split in splits:
            for held in split.validation:
                train, test, classes = _labelled(samples, category, split.train, held.rows)
                if len(classes) > 1 and len(test):
                    number = {name: place for place, name in enumerate(classes)}
                    fit, asked = (np.array([number[category[row]] for row in rows]) for rows in (train, test))
                    given = space.features[train], fit, space.features[test], asked
                    found.append((knn_accuracy(*given, k), linear_accuracy(*given), 1 / len(np.unique(asked))))
        means = [_mean([one[place] for one in found]) if found else None for place in range(3)]
        record = {"image": space.view, "layer": space.layer}
        scores.append(record | dict(zip(("image_knn", "image_linear", "image_chance"), means, strict=True)))
    return scores


def _labelled(samples: Captioned, category: np.ndarray, train: Rows, held: Rows) -> tuple[Rows, Rows, list[str]]:
    """Train rows of the held-out rows' data set, held-out rows, and the classes that occur on both sides."""
    train = train[samples.dataset[train] == samples.dataset[held[0]]]
    names = sorted(set(category[train]) & set(category[held]) - {""})
    classes = [name for name in names if (category[train] == name).sum() >= MIN_CLASS]
    return train[np.isin(category[train], classes)], held[np.isin(category[held], classes)], classes


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 6)
