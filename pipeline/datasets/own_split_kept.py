"""Data sets that are split by picture: those whose own split puts most of their families on both sides."""

import logging

import numpy as np

from pipeline.config import SplitsParams
from pipeline.datasets.hash_order import hash_order
from pipeline.datasets.labelled import ORDER, TEST, TRAIN, UNSPLIT, VALIDATION, Labelled

log = logging.getLogger(__name__)


def split_by_picture(samples: Labelled, family: np.ndarray) -> list[int]:
    """The data sets whose own split puts more than half of the families in it on both sides; each is logged.

    Args:
        family: (n,) of each picture.
    """
    found = []
    for number in range(len(samples.datasets)):
        rows = samples.rows_of(number)
        split = samples.own[rows]
        given = split != UNSPLIT
        held_out, trained = np.unique(family[rows][given & (split != TRAIN)]), np.unique(family[rows][split == TRAIN])
        both = len(np.intersect1d(held_out, trained, assume_unique=True))
        families = len(held_out) + len(trained) - both
        if 2 * both > families:
            found.append(number)
            log.info(
                "%s: its own split has %d of %d families on both sides: it is kept picture by picture, and no concept "
                "of it is held out",
                *(samples.called[number], both, families),
            )
    return found


def follow_own_split(samples: Labelled, dataset: int, params: SplitsParams, seed: int) -> np.ndarray:
    """Split of each picture of a data set that is split by picture, (n,) int8 positions in `ORDER`.

    It is the data set's own; a picture without one is trained on. Of a data set without pictures for validation, or
    for test, the share of `params` is drawn from those to train on, in the order of a hash of image id and seed.
    """
    rows = samples.rows_of(dataset)
    own = samples.own[rows]
    split = np.where(own == UNSPLIT, np.int8(TRAIN), own)
    train = np.flatnonzero(split == TRAIN)
    train = train[hash_order(str(seed), samples.ids[rows], train)]
    start = 0
    for drawn, share in ((TEST, params.test), (VALIDATION, params.validation)):
        if (split == drawn).any():
            continue
        end = start + max(1, round(share * len(train)))
        split[train[start:end]] = drawn
        start = end
    return np.asarray(split)


def hold_out_everywhere(split: np.ndarray, image: np.ndarray, own: np.ndarray) -> None:
    """Put a picture that is in a data set split by picture, and in another one, on the held-out side of both.

    Args:
        split: (n,) int8 positions in `ORDER`, changed in place.
        image: (n,) int32, equal for equal pictures.
        own: (n,) bool, rows of data sets that are split by picture.
    """
    if not own.any():
        return
    shared = np.zeros(int(image.max()) + 1, dtype=bool)
    shared[image[own]] = True
    rows = np.flatnonzero(shared[image])
    first = np.full(len(shared), len(ORDER), np.int8)
    np.minimum.at(first, image[rows], split[rows])
    split[rows] = first[image[rows]]
