"""The two studies as points: similarity of two spaces before training, CLIP loss after it."""

import logging
from dataclasses import asdict
from typing import Any

import numpy as np

from pipeline.config import CompareSpec, ToySpec
from pipeline.progress import tqdm
from pipeline.similarity.candidates import read_candidates
from pipeline.similarity.cka import unbiased_linear_cka
from pipeline.similarity.ease import Ease, Member, align_all
from pipeline.similarity.neighbours import mutual_knn
from pipeline.similarity.synthetic import synthetic_pairs

log = logging.getLogger(__name__)

HELD_OUT = 0.2  # of the synthetic rows; real spaces hold out the validation split
_MIN_ROWS = 8  # of either side


def synthetic_points(params: ToySpec, neighbours: int, seed: int) -> list[dict[str, Any]]:
    """One point per pair of noise levels and seed; similarity over all rows."""
    pairs = synthetic_pairs(params.synthetic, seed)
    rows = np.arange(params.synthetic.samples)
    first_held = round(len(rows) * (1 - HELD_OUT))
    members = [Member(pair.first, pair.second, pair.seed * len(pairs) + i) for i, pair in enumerate(pairs)]
    ease = align_all(members, rows[:first_held], rows[first_held:], params, "synthetic")
    chance = _chance(first_held, len(rows) - first_held, params)
    return [
        {"study": "synthetic", "name": pair.name}
        | _similarity(pair.first, pair.second, neighbours)
        | _reached(reached)
        | chance
        | {"w1": pair.w1, "w2": pair.w2, "seed": pair.seed}
        for pair, reached in tqdm(zip(pairs, ease, strict=True), desc="toy: similarity", total=len(pairs))
    ]


def real_points(
    params: ToySpec, compare: CompareSpec, repeats: int, seed: int
) -> tuple[list[dict[str, Any]], list[str]]:
    """One point per image space (every kept layer, `cls`), text space and seed, on the samples of repeat 0.

    Training uses its train split, the held-out loss its validation split; similarity is over both. Returns the points
    and what was left out.

    Raises:
        DataError, StoreError, FingerprintMismatch: as `read_candidates`.
    """
    candidates = read_candidates(compare, repeats, poolings=("cls",))
    left_out = list(candidates.samples.left_out)
    rows = candidates.samples.outside_test(0)
    training = candidates.samples.splits[rows, 0] == "train"
    train, held = np.flatnonzero(training), np.flatnonzero(~training)
    if min(len(train), len(held)) < _MIN_ROWS or len(rows) <= compare.neighbours:
        left_out.append(f"the study of real spaces: {len(train)} rows to train on and {len(held)} held out are too few")
        return [], left_out
    spaces = [(image, text) for image in candidates.images for text in candidates.texts]
    similar = [_similarity(i.features[rows], t.features[rows], compare.neighbours) for i, t in spaces]
    seeds = [seed * params.seeds + offset for offset in range(params.seeds)]
    members = [Member(i.features[rows], t.features[rows], number) for number in seeds for i, t in spaces]
    ease = align_all(members, train, held, params, "real")
    points = [
        {"study": "real", "name": f"{image.view}[{image.layer}] x {text.view}"}
        | similarity
        | _reached(reached)
        | _chance(len(train), len(held), params)
        | {"image": image.view, "text": text.view, "layer": image.layer, "seed": number}
        for number, block in zip(seeds, _blocks(ease, len(spaces)), strict=True)
        for (image, text), similarity, reached in zip(spaces, similar, block, strict=True)
    ]
    return points, left_out


def _reached(ease: Ease) -> dict[str, float]:
    return {name: round(value, 6) for name, value in asdict(ease).items()}


def _chance(train: int, held: int, params: ToySpec) -> dict[str, float]:
    """The losses of a head that cannot tell the rows of a batch apart (ln of its size), and recall by luck."""
    sizes = {"loss": min(params.batch_size, train), "heldout_loss": min(params.batch_size, held)}
    return {f"chance_{name}": round(float(np.log(size)), 6) for name, size in sizes.items()} | {
        "chance_heldout_recall": round(1 / held, 6)
    }


def _similarity(first: np.ndarray, second: np.ndarray, neighbours: int) -> dict[str, float]:
    return {
        "cka": round(unbiased_linear_cka(first, second), 6),
        "mutual_knn": round(mutual_knn(first, second, neighbours), 6),
    }


def _blocks(items: list[Any], size: int) -> list[list[Any]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
