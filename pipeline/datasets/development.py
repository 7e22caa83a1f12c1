"""Families for development: every choice of design is made on them, and no repeat ever tests them."""

import numpy as np

from pipeline.datasets.fill import fill
from pipeline.datasets.hash_order import hash_order
from pipeline.ids import Ids

COLUMN = "development"  # of samples.parquet


def development_families(images: np.ndarray, names: Ids, left_out: np.ndarray, share: float) -> np.ndarray:
    """Families of about `share` of the images of every data set, (F,) bool: the same in all repeats and for every seed.

    Families are ordered by a hash of their name. One is taken if none of its data sets would exceed its share.

    Args:
        images: (F, D) int, images of each family in each data set; families without any are left out.
        names: (F,) of the families.
        left_out: (F,) bool, further families to leave out: their split is determined elsewhere, or a data set tests
            them by a split of its own.
        share: of the images of each data set; 0 for none.
    """
    found = np.zeros(len(names), dtype=bool)
    if share:
        room = np.array([round(share * int(total)) for total in images.sum(axis=0)], np.int64)
        possible = np.flatnonzero(images.any(axis=1) & ~left_out)
        found[fill(images, room, possible[hash_order("development", names, possible)])] = True
    return found
