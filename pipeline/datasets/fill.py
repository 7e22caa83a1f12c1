"""Filling a share of every data set with whole families, in a given order."""

import numpy as np

_BLOCK = 1 << 16  # families looked at together


def family_images(family: np.ndarray, dataset: np.ndarray, families: int, datasets: int) -> np.ndarray:
    """How many images each family has in each data set, (families, datasets) int32, from both as numbers by image."""
    counts = np.zeros((families, datasets), np.int32)
    np.add.at(counts, (family, dataset), 1)
    return counts


def fill(images: np.ndarray, room: np.ndarray, order: np.ndarray) -> np.ndarray:
    """The families (k,) int64 that are taken, in order: each if none of its data sets would exceed its room.

    Args:
        images: (families, datasets) int, as `family_images` gives them.
        room: (datasets,) images that each data set has room for; below 0 where it is exceeded already.
        order: (n,) int64, the families that may be taken, and when.
    """
    room, taken = room.astype(np.int64), [order[:0]]
    for start in range(0, len(order), _BLOCK):
        waiting = order[start : start + _BLOCK]
        while waiting.size:
            waiting = waiting[_fit(images[waiting], room)]  # a family too large for what is left stays too large
            wanted = images[waiting]
            exceeding = np.flatnonzero(~_fit(np.cumsum(wanted, axis=0, dtype=np.int64), room, wanted))
            stop = int(exceeding[0]) if exceeding.size else len(waiting)
            taken.append(waiting[:stop])
            room -= wanted[:stop].sum(axis=0)
            waiting = waiting[stop + 1 :]
    return np.concatenate(taken)


def _fit(images: np.ndarray, room: np.ndarray, wanted: np.ndarray | None = None) -> np.ndarray:
    """(n,) bool: whether every data set of which something is wanted has room for that many images."""
    return np.asarray(((images <= room) | ((images if wanted is None else wanted) == 0)).all(axis=1))
