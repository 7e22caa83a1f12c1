"""Train, validation and test by concept family, jointly over all data sets: held out means held out everywhere."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config import SplitsParams
from pipeline.datasets.development import development_families
from pipeline.datasets.families import find_families
from pipeline.datasets.fill import family_images, fill
from pipeline.datasets.further_splits import follow_pictures, write_further
from pipeline.datasets.hash_order import hash_order
from pipeline.datasets.labelled import ORDER, TEST, TRAIN, UNSPLIT, VALIDATION, Labelled
from pipeline.datasets.own_split_kept import follow_own_split, hold_out_everywhere, split_by_picture
from pipeline.datasets.samples import SPLITS
from pipeline.datasets.split_tables import SplitSamples, write_pairs, write_samples
from pipeline.errors import DataError
from pipeline.files import read_object, write_json
from pipeline.ids import Ids
from pipeline.row_map import RowMap

log = logging.getLogger(__name__)

_LISTED = 20  # families in the summary


@dataclass(frozen=True)
class Families:
    """The families that are assigned to splits, by number (the concept that each is named after).

    Attributes:
        names: (F,).
        images: (F, D) int32, pictures in each data set that is not split by picture.
        fixed: (F,) int8, the split of families that is determined beforehand, a position in `ORDER`, else `UNSPLIT`.
        untested: (F,) bool, families for development.
    """

    names: Ids
    images: np.ndarray
    fixed: np.ndarray
    untested: np.ndarray


def build_splits(index_folders: Mapping[str, Path], params: SplitsParams, seed: int, out: Path) -> dict[str, Any]:
    """Write samples.parquet, pairs.parquet and summary.json into `out`; returns the summary.

    Where a data set has a further modality, `write_further` adds its tables. A sound is in the split of its family; in
    a family that has pictures sounds count for nothing, so that sounds move no picture to another split.

    Repeat r is drawn with seed `seed * repeats + r`. A family is in one split. Where a data set has its own split,
    that is used; a family that it puts on both sides goes whole to the held-out side, and the summary counts the rows.

    Families of the share `development` are the same in every repeat and are never in a test split; of a data set's own
    split, families that it tests are none of them.

    A data set that puts most of its families on both sides is split by picture, as data for classification are, and
    keeps that split: see `follow_own_split`. Concepts that it trains on are held out in no other data set that has no
    split of its own.

    A data set for transfer, according to its about.json, is exempt: each of its concepts is its own family, and its
    images are in the data set's own split, or in test, in every repeat. That is the usual zero-shot evaluation, on
    classes that training may have seen, but not on pictures: one that a repeat trains on is in train there.

    Args:
        index_folders: data set name -> its index.
        params: shares of development, validation and test, by images of every data set; the largest family to hold out.
        seed: the seed of the project.
        out: the folder to write.

    Raises:
        DataError: an index is missing, no data set holds an image, or a split would be empty.
    """
    about = {dataset: read_object(folder / "about.json") for dataset, folder in index_folders.items()}
    transfer = {dataset for dataset in index_folders if about[dataset].get("transfer", False)}
    trained = {dataset: folder for dataset, folder in index_folders.items() if dataset not in transfer}
    samples = Labelled.read(trained)
    transferred = Labelled.read({dataset: index_folders[dataset] for dataset in transfer})
    if not len(samples) and not len(transferred):
        looked = ", ".join(index_folders) or "none"
        raise DataError(f"No data set holds an image or another sample (looked at: {looked}). Run: dvc repro")
    family_of = find_families(samples.concepts())
    family = family_of[samples.picture_concept]
    sizes = np.bincount(family_of, minlength=len(family_of))
    too_large = sizes > max(1.0, params.largest_family * len(family_of))
    by_picture = split_by_picture(samples, family)
    own = np.isin(samples.dataset, by_picture)
    given, moved = _given(family[~own], samples.own[~own], len(family_of))
    families = _families(samples, family, own, too_large, given, params)
    development = families.untested[family]
    splits = []
    for repeat in range(params.repeats):
        drawn = seed * params.repeats + repeat
        split = assign(families, params, drawn)[family] if len(samples) else np.empty(0, np.int8)
        for number in by_picture:
            split[samples.rows_of(number)] = follow_own_split(samples, number, params, drawn)
        hold_out_everywhere(split, samples.image, own)
        counts = np.bincount(split[: samples.pictures or None], minlength=len(ORDER))
        if len(samples) and (empty := [name for name in SPLITS if not counts[ORDER.index(name)]]):
            what = "images" if samples.pictures else "samples"
            raise DataError(
                f"Repeat {repeat} has nothing in {' and '.join(empty)}: {len(samples)} {what} fall into "
                f"{np.count_nonzero(sizes)} families, of which {np.count_nonzero(families.fixed != UNSPLIT)} are fixed "
                f"and {np.count_nonzero(families.untested)} are for development. Add data, raise splits.validation and "
                "splits.test, raise splits.largest_family, or lower splits.development."
            )
        splits.append(split)
    followed, seen = _transferred(transferred, samples, splits)
    if moved:
        log.warning("warning: %d rows left the split of their data set, because their family is held out", moved)
    shared = _by_dataset(transferred, seen)
    for dataset, number in shared.items():
        log.warning("warning: %d pictures of %s are trained on in some repeat, and not tested there", number, dataset)
    summary = {
        "concepts": len(family_of),
        "families": int(np.count_nonzero(sizes)),
        "largest": [
            {"family": samples.concept.values[int(number)], "concepts": int(sizes[number])}
            for number in np.argsort(-sizes, kind="stable")[:_LISTED]
            if sizes[number]
        ],
        "train_only": samples.concept.values[too_large & (given == UNSPLIT)].tolist(),
        "development": {
            "families": int(np.count_nonzero(families.untested)),
            "images": _by_dataset(samples, development),
        },
        "unavailable": {
            dataset: str(about[dataset].get("reason"))
            for dataset in samples.datasets
            if not about[dataset].get("available", True)
        },
        "moved_rows": moved,
        "shares": _shares(samples, splits),
        "transfer": sorted(transfer),
        "by_picture": [samples.called[number] for number in by_picture],
    }
    if shared:
        summary["trained_on"] = shared
    nothing = np.zeros(len(transferred), dtype=bool)
    parts = SplitSamples(samples, family, development, splits), SplitSamples(transferred, None, nothing, followed)
    write_samples(parts, out)
    write_pairs(samples, transferred, out)
    write_further(parts, out)
    write_json(summary, out / "summary.json")
    return summary


def _families(
    samples: Labelled,
    family: np.ndarray,
    own: np.ndarray,
    too_large: np.ndarray,
    given: np.ndarray,
    params: SplitsParams,
) -> Families:
    """The families of the data sets that are not split by picture, and which splits are determined beforehand.

    Args:
        family: (n,) of each picture.
        own: (n,) bool, the pictures of data sets that are split by picture.
        too_large: (F,) bool, families that are not held out.
        given: (F,) int8, the split that data sets give.
    """
    images = family_images(family[~own], samples.dataset[~own], len(given), len(samples.datasets))
    follow_pictures(images, samples)
    in_own = np.zeros(len(given), dtype=bool)
    in_own[family[own]] = True
    learnt = np.zeros(len(given), dtype=bool)
    learnt[family[own & ((samples.own == UNSPLIT) | (samples.own == TRAIN))]] = True
    fixed = np.where(given != UNSPLIT, given, np.where(too_large | learnt, np.int8(TRAIN), np.int8(UNSPLIT)))
    names = samples.concept.values
    untested = development_families(images, names, (fixed != UNSPLIT) | in_own, params.development)
    return Families(names, images, fixed, untested)


def assign(families: Families, params: SplitsParams, seed: int) -> np.ndarray:
    """Split of every family, (F,) int8: test is filled first, then validation, the rest is train; those for
    development are not in test.

    Families are ordered by a hash of their name and the seed, so that a new family moves few others. One is
    assigned if none of its data sets would exceed its share.
    """
    assigned, totals = families.fixed.copy(), families.images.sum(axis=0, dtype=np.int64)
    free = np.flatnonzero(families.images.any(axis=1) & (assigned == UNSPLIT))
    order = free[hash_order(str(seed), families.names, free)]
    for split, share in ((TEST, params.test), (VALIDATION, params.validation)):
        room = np.array([max(1, round(share * int(total))) for total in totals], np.int64)
        room -= families.images[families.fixed == split].sum(axis=0, dtype=np.int64)
        waiting = order[assigned[order] == UNSPLIT]
        if split == TEST:
            waiting = waiting[~families.untested[waiting]]
        assigned[fill(families.images, room, waiting)] = split
    assigned[assigned == UNSPLIT] = TRAIN
    return np.asarray(assigned)


def _given(family: np.ndarray, own: np.ndarray, families: int) -> tuple[np.ndarray, int]:
    """Split of each family that a data set determines, (F,) int8, and how many rows are moved by that."""
    some = own != UNSPLIT
    given = np.full(families, len(ORDER), np.int8)
    np.minimum.at(given, family[some], own[some])
    moved = int(np.count_nonzero(own[some] != given[family[some]]))
    return np.where(given == len(ORDER), np.int8(UNSPLIT), given), moved


def _transferred(
    pictures: Labelled, trained: Labelled, splits: list[np.ndarray]
) -> tuple[list[np.ndarray], np.ndarray]:
    """Per repeat the split of each picture for transfer, and which are trained on in a repeat though they are for test.

    Args:
        trained: the pictures that are split, and `splits` of them by repeat.
    """
    own = np.where(pictures.own == UNSPLIT, np.int8(TEST), pictures.own)
    followed, seen = [own.copy() for _ in splits], np.zeros(len(pictures), dtype=bool)
    if not len(pictures) or not len(trained):
        return followed, seen
    same = RowMap(trained.ids).find(pictures.ids)
    image = trained.image[same]
    for split, of_repeat in zip(splits, followed, strict=True):
        learnt = np.zeros(int(trained.image.max()) + 1, dtype=bool)
        learnt[trained.image[split == TRAIN]] = True
        here = (own == TEST) & (same >= 0) & learnt[image]
        of_repeat[here] = TRAIN
        seen |= here
    return followed, seen


def _by_dataset(pictures: Labelled, marked: np.ndarray) -> dict[str, int]:
    """How many pictures are marked, by data set; those without any are left out."""
    counts = np.bincount(pictures.dataset[marked], minlength=len(pictures.datasets)).tolist()
    return {dataset: count for dataset, count in zip(pictures.called, counts, strict=True) if count}


def _shares(samples: Labelled, splits: list[np.ndarray]) -> dict[str, dict[str, list[float]]]:
    """Data set -> split -> share of its images in each repeat."""
    shares: dict[str, dict[str, list[float]]] = {}
    for number, dataset in enumerate(samples.called):
        rows = samples.rows_of(number)
        total = rows.stop - rows.start
        if not total:
            continue
        counts = [np.bincount(split[rows], minlength=len(ORDER)).tolist() for split in splits]
        shares[dataset] = {
            name: [round(of_repeat[ORDER.index(name)] / total, 4) for of_repeat in counts] for name in SPLITS
        }
    return shares
